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

/** Figures, in the order in which they come. */
export class Figures {
  readonly #figures = new Map<string, Figure & { readonly values: Record<string, number[]> }>();

  /** Adds a number of a round. */
  note(workload: string, figure: string, digits: number, server: { readonly name: string }, value: number): void {
    const key = `${workload}: ${figure}`;
    const entry = this.#figures.get(key) ?? { workload, figure, digits, values: {} };
    entry.values[server.name] = [...(entry.values[server.name] ?? []), value];
    this.#figures.set(key, entry);
  }

  get all(): readonly Figure[] {
    return [...this.#figures.values()];
  }
}

/** What a table compares: a column for each server, and one for each ratio of two of them. */
export interface Columns {
  readonly servers: readonly string[];
  readonly ratios: readonly (readonly [string, string])[];
}

/** A table in Markdown: medians, and ratios with their spread. */
export function tableOf(figures: readonly Figure[], { servers, ratios }: Columns): string {
  const rows = figures.map(({ workload, figure, digits, values }) => {
    const medians = servers.map((name) => {
      const numbers = values[name];
      return numbers === undefined ? "" : spreadOf(numbers).median.toFixed(digits);
    });
    const ratio = ([one, other]: readonly [string, string]) =>
      spreadText(ratioOf(values[one] ?? [], values[other] ?? []), 2);
    return [workload, figure, ...medians, ...ratios.map(ratio)];
  });
  const head = ["workload", "figure", ...servers, ...ratios.map(([one, other]) => `${one} / ${other}`)];
  const widths = head.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

/** A median, with the least and the most in brackets. Empty: there is none. */
export function spreadText({ median, min, max }: Spread, digits: number): string {
  if (Number.isNaN(median)) return "";
  if (min === max) return median.toFixed(digits);
  return `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;
}
