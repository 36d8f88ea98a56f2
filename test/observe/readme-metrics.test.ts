import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { rules } from "./dashboard.ts";
import { metricsIn, seriesIn } from "./promql.ts";
import { playScenario, startScenario } from "./scenario.ts";

const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");

/** Rows of the table with this heading, as lists of cells. */
function table(heading: string): string[][] {
  const [, rest = ""] = readme.split(`${heading}\n`);
  const [rows = ""] = rest.split("\n\n");
  return rows
    .split("\n")
    .slice(1)
    .map((row) =>
      row
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

const codes = (text: string) => Array.from(text.matchAll(/`([^`]+)`/g), ([, code = ""]) => code);

describe("the README", () => {
  let scrape: string;
  before(async () => {
    await using service = await startScenario();
    await playScenario(service);
    scrape = await (await fetch(`${service.adminUrl}/metrics`)).text();
  });

  test("tells of every metric of which kind it is, and which labels it has", () => {
    const shown = table("| Metric | Kind | Labels | |").flatMap(([names = "", kind, labels = ""]) =>
      codes(names).map((name) => [name, `${kind} ${codes(labels).sort()}`]),
    );
    const series = seriesIn(scrape);
    const scraped = Array.from(scrape.matchAll(/^# TYPE (\w+) (\w+)$/gm), ([, name = "", kind]) => {
      const all = series.get(kind === "histogram" ? `${name}_count` : name) ?? [];
      return [name, `${kind} ${[...new Set(all.flatMap((labels) => [...labels]))].sort()}`];
    });
    assert.deepEqual(Object.fromEntries(shown), Object.fromEntries(scraped));
  });

  test("translates the names of guides into metrics that there are", () => {
    const translations = table("| There | Here |").flatMap(([, here = ""]) => codes(here));
    const uses = translations.flatMap((code) => metricsIn(code)).filter(({ metric }) => /_.*_/.test(metric));
    assert.ok(uses.length > 10);
    const series = seriesIn(scrape);
    const labels = new Set([...series.values()].flatMap((all) => all.flatMap((names) => [...names])));
    for (const { metric } of uses) assert.ok(series.has(metric) || labels.has(metric), metric);
  });

  test("tells of every alert with its severity", () => {
    const shown = table("| Alert | Severity | |").flatMap(([names = "", severities = ""]) =>
      codes(names).map((name, index) => [name, severities.split(", ")[index] ?? severities]),
    );
    const alerts = rules.flatMap(({ alert, labels }) => (alert === undefined ? [] : [[alert, labels?.severity]]));
    assert.deepEqual(Object.fromEntries(shown), Object.fromEntries(alerts));
  });
});
