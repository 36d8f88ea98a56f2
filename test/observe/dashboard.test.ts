import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { metric } from "../../src/observe/names.ts";
import type { Service } from "../support/service.ts";
import { asSent, dashboard, panels, RULES, rules } from "./dashboard.ts";
import { missing, type Prometheus, startPrometheus } from "./prometheus.ts";
import { metricsIn, seriesIn } from "./promql.ts";
import { playScenario, startScenario } from "./scenario.ts";

const queries = panels.flatMap(({ title, targets = [] }) => targets.map((target) => ({ title, ...target })));
const tables = new Set(panels.filter(({ type }) => type === "table").map(({ title }) => title));
/** All that is asked of Prometheus. */
const expressions = [
  ...queries.map(({ expr }) => asSent(expr)),
  ...dashboard.annotations.list.flatMap(({ expr }) => (expr === undefined ? [] : [asSent(expr)])),
  ...rules.map(({ expr }) => expr),
];

/** Labels that Prometheus gives to all that it scrapes. */
const TARGET = new Set(["namespace", "job", "instance"]);
/** Metrics that Prometheus makes, of the target and of the rules. */
const MADE = new Set(["up", "ALERTS", ...rules.flatMap(({ record }) => record ?? [])]);

describe("the dashboard", () => {
  test("has a fixed uid, and takes its data source from a variable", () => {
    assert.equal(dashboard.uid, "parley");
    for (const { datasource, title } of queries) assert.match(datasource.uid, /^\$\{datasource\}$/, title);
  });

  test("says in each panel what it shows and in which unit", () => {
    for (const { title, description, type, fieldConfig } of panels) {
      assert.ok(description, title);
      if (type !== "table" && type !== "heatmap") assert.ok(fieldConfig?.defaults.unit, title);
    }
    for (const { title, legendFormat } of queries) assert.ok(legendFormat || tables.has(title), title);
  });

  test("has panels of current kinds, each with an id and a place of its own", () => {
    const kinds = new Set(dashboard.panels.map(({ type }) => type));
    assert.deepEqual([...kinds.difference(new Set(["row", "timeseries", "stat", "table", "heatmap"]))], []);
    assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
    const taken = new Map<string, string>();
    for (const { title, gridPos } of dashboard.panels) {
      assert.ok(gridPos.x + gridPos.w <= 24, title);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.equal(taken.get(`${x} ${y}`), undefined, title);
          taken.set(`${x} ${y}`, title);
        }
      }
    }
  });

  test("filters each query by the namespace and the job that were chosen", () => {
    for (const { title, expr } of queries) {
      for (const [selector] of expr.matchAll(/\{[^{}]*\}|[a-z_]{3,}_total\b(?!\{)/g)) {
        assert.match(selector, /^\{.*namespace=~"\$namespace", job=~"\$job/, title);
      }
    }
  });

  test("has every instrument", () => {
    const shown = queries.flatMap(({ expr }) => metricsIn(asSent(expr)).map((use) => use.metric));
    const isShown = (name: string) =>
      shown.some((one) => one.replace(/_(total|bucket|sum|count)$/, "") === name || one === name);
    const missed = Object.values(metric).filter((name) => !isShown(name.replaceAll(".", "_")));
    assert.deepEqual(missed, []);
  });
});

describe("after all kinds of calls and runs", () => {
  let service: Service;
  let scrape: string;
  before(async () => {
    service = await startScenario();
    await playScenario(service);
    scrape = await (await fetch(`${service.adminUrl}/metrics`)).text();
  });
  after(() => service[Symbol.asyncDispose]());

  test("a scrape has every metric of the dashboard and the rules, with the labels that they use", () => {
    const series = seriesIn(scrape);
    const uses = expressions.flatMap((expression) => metricsIn(expression));
    assert.ok(uses.length > 100);
    for (const { metric, labels } of uses) {
      if (MADE.has(metric)) continue;
      const needed = labels.filter((label) => !TARGET.has(label));
      const found = series.get(metric)?.some((names) => needed.every((label) => names.has(label)));
      assert.ok(found, `${metric}{${needed}}`);
    }
  });

  test("a scrape has every instrument", () => {
    const series = [...seriesIn(scrape).keys()];
    const missed = Object.values(metric)
      .map((name) => name.replaceAll(".", "_"))
      .filter((name) => !["", "_total", "_count"].some((ending) => series.includes(name + ending)));
    assert.deepEqual(missed, []);
  });

  describe("in a Prometheus", { skip: missing("prometheus") }, () => {
    let prometheus: Prometheus;
    before(async () => {
      prometheus = await startPrometheus(new URL(service.adminUrl).host, RULES);
      // A rate needs two samples with something between them, and an alert what was before.
      await prometheus.rounds(1);
      await playScenario(service);
      await prometheus.rounds(2);
    });
    after(() => prometheus?.[Symbol.asyncDispose]());

    for (const { title, refId, expr, legendFormat } of queries) {
      test(`"${title}" ${refId} is not empty`, async () => {
        const series = await prometheus.query(asSent(expr));
        assert.ok(
          series.some(({ value }) => Number.isFinite(Number(value[1]))),
          JSON.stringify(series),
        );
        for (const [, label = ""] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
          assert.ok(
            series.some(({ metric }) => label in metric),
            `no series has the label ${label} of the legend`,
          );
        }
      });
    }

    test("each variable has values", async () => {
      for (const { name, definition } of dashboard.templating.list) {
        if (definition === undefined) continue;
        const [, selector = "", label = ""] = /^label_values\((.*), (\w+)\)$/.exec(asSent(definition)) ?? [];
        const values = await prometheus.get<string[]>(`label/${label}/values?match[]=${encodeURIComponent(selector)}`);
        assert.notDeepEqual(values, [], name);
      }
    });

    test("all rules work, and that the credential was rejected is told", async () => {
      type Evaluated = { name: string; health: string; lastError?: string };
      const { groups } = await prometheus.get<{ groups: { rules: Evaluated[] }[] }>("rules");
      const evaluated = groups.flatMap((group) => group.rules);
      assert.equal(evaluated.length, rules.length);
      for (const { name, health, lastError } of evaluated) assert.equal(health, "ok", `${name}: ${lastError}`);

      type Alert = { labels: Record<string, string>; annotations: Record<string, string>; state: string };
      const { alerts } = await prometheus.get<{ alerts: Alert[] }>("alerts");
      const rejected = alerts.find(({ labels }) => labels.alertname === "ParleyCredentialRejected");
      assert.equal(rejected?.state, "firing");
      assert.equal(rejected.annotations.description?.startsWith("Claude refuses the credential"), true);
    });
  });
});
