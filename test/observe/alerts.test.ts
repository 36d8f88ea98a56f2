import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { parse } from "yaml";
import { RULES, rules } from "./dashboard.ts";
import { missing } from "./prometheus.ts";

const folder = join(import.meta.dirname, "alerts");
const files = readdirSync(folder);
const alerts = rules.flatMap((rule) => (rule.alert === undefined ? [] : [{ ...rule, alert: rule.alert }]));
/** An expression of which the result is empty only if no alert at all is pending or fires. */
const ASKS_FOR_ALL = /^(count_over_time\()?ALERTS($|\{alertstate="firing"\}|\[)/;

interface UnitTest {
  readonly promql_expr_test: readonly { expr: string; exp_samples?: { labels: string }[] }[];
}

const promtool = (...args: string[]) => promisify(execFile)("promtool", args);

describe("the alert rules", () => {
  test("say how grave it is, what it is, what it means and what to do", () => {
    assert.ok(alerts.length > 0);
    for (const { alert, labels, annotations = {} } of alerts) {
      assert.ok(["critical", "warning"].includes(labels?.severity ?? ""), alert);
      assert.deepEqual(Object.keys(annotations), ["summary", "description", "action"], alert);
    }
  });

  test("have each a test in which all are silent, and later this one fires", () => {
    const tests = files.flatMap((file) => {
      const { tests } = parse(readFileSync(join(folder, file), "utf8"), { merge: true }) as { tests: UnitTest[] };
      return tests.map((one) => one.promql_expr_test.filter(({ expr }) => ASKS_FOR_ALL.test(expr)));
    });
    const seen = tests
      .filter((cases) => cases.some(({ exp_samples = [] }) => exp_samples.length === 0))
      .flatMap((cases) => cases.flatMap(({ exp_samples = [] }) => exp_samples.map(({ labels }) => labels)))
      .map((labels) => /alertname="(\w+)"/.exec(labels)?.[1]);
    assert.deepEqual([...new Set(seen)].sort(), alerts.map(({ alert }) => alert).sort());
  });

  test("are what promtool takes", { skip: missing("promtool") }, async () => {
    const { stdout } = await promtool("check", "rules", RULES);
    assert.match(stdout, new RegExp(`SUCCESS: ${rules.length} rules found`));
  });

  for (const file of files) {
    test(`pass the unit tests in ${file}`, { skip: missing("promtool") }, async () => {
      await promtool("test", "rules", join(folder, file));
    });
  }
});
