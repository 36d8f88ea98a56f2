import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

const chart = join(import.meta.dirname, "../../helm/parley");

/** The alert rules and recording rules. */
export const RULES = join(chart, "rules/parley.rules.yaml");

export interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: { readonly severity?: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

export const rules = (parse(readFileSync(RULES, "utf8")) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  (group) => group.rules,
);

interface Target {
  readonly expr: string;
  readonly legendFormat: string;
  readonly refId: string;
  readonly datasource: { readonly uid: string };
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
}

interface Variable {
  readonly name: string;
  readonly type: string;
  readonly allValue?: string;
  readonly definition?: string;
}

export const dashboard = JSON.parse(readFileSync(join(chart, "dashboards/parley.json"), "utf8")) as {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly Variable[] };
  readonly annotations: { readonly list: readonly { readonly expr?: string }[] };
};

/** Panels, without the headings of rows. */
export const panels = dashboard.panels.filter(({ type }) => type !== "row");

/** What Grafana puts into queries for all values of each variable, and for what it knows of time. */
const VALUES: Readonly<Record<string, string>> = {
  ...Object.fromEntries(dashboard.templating.list.map(({ name, allValue }) => [name, allValue ?? "parley"])),
  __rate_interval: "1m",
  __range: "1m",
};

/** A query as Grafana sends it. */
export function asSent(query: string): string {
  return query.replace(/\$(\w+)/g, (_, name: string) => {
    const value = VALUES[name];
    if (value === undefined) throw new Error(`the dashboard has no variable ${name}`);
    return value;
  });
}
