import { ratioOf, type Spread, spreadOf } from "./statistics.ts";

/** One figure of a workload, for each server: a number for each round. */
export interface Figure {
  readonly workload: string;
  /** What was measured, with its unit. */
  readonly figure: string;
  readonly digits: number;
  /** The numbers by server. */
  readonly values: Readonly<Record<string, readonly number[]>>;
}

const SERVERS = ["Parley", "raw", "Portkey"];

/** A table in Markdown: medians, and Parley's ratio to the others with its spread. */
export function tableOf(figures: readonly Figure[]): string {
  const rows = figures.map(({ workload, figure, digits, values }) => {
    const parley = values.Parley ?? [];
    const ratio = (other: string) => {
      const others = values[other];
      return others === undefined ? "" : spreadText(ratioOf(parley, others), 2);
    };
    const medians = SERVERS.map((name) => {
      const numbers = values[name];
      return numbers === undefined ? "" : spreadOf(numbers).median.toFixed(digits);
    });
    return [workload, figure, ...medians, ratio("raw"), ratio("Portkey")];
  });
  const head = ["workload", "figure", ...SERVERS, "Parley / raw", "Parley / Portkey"];
  const widths = head.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

function spreadText({ median, min, max }: Spread, digits: number): string {
  if (Number.isNaN(median)) return "";
  if (min === max) return median.toFixed(digits);
  return `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;
}
