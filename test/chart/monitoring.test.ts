import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { type Manifest, render, valuesFile } from "./helm.ts";
import { CHART, missingTools } from "./tools.ts";

const rules = parse(readFileSync(join(CHART, "rules/parley.rules.yaml"), "utf8"));

const alertsIn = (groups: Manifest): readonly Manifest[] =>
  groups.flatMap(({ rules }: Manifest) => rules).filter(({ alert }: Manifest) => alert !== undefined);

describe("monitoring", { skip: missingTools, concurrency: 2 }, () => {
  test("is off by default: not every cluster knows its kinds", async () => {
    const manifests = await render();
    for (const kind of ["ServiceMonitor", "PrometheusRule"]) assert.deepEqual(manifests.of(kind), []);
    assert.equal(manifests.of("ConfigMap").length, 1);
  });

  test("reads metrics from the admin port of each replica once", async () => {
    const manifests = await render(valuesFile("monitoring"));
    const { metadata, spec } = manifests.one("ServiceMonitor");
    assert.equal(metadata.labels.release, "prometheus");
    const [endpoint] = spec.endpoints;
    assert.deepEqual([endpoint.port, endpoint.path, endpoint.interval], ["admin", "/metrics", "15s"]);
    assert.equal(endpoint.relabelings[0].targetLabel, "node");
    assert.equal(endpoint.metricRelabelings[0].action, "drop");
    // Only one of the two services may fit, and it must have the port.
    const wanted = Object.entries(spec.selector.matchLabels);
    const fitting = manifests
      .of("Service")
      .filter(({ metadata }) => wanted.every(([name, value]) => metadata.labels[name] === value));
    assert.deepEqual(
      fitting.map(({ metadata }) => metadata.name),
      ["parley-headless"],
    );
    assert.ok(fitting[0].spec.ports.some(({ name }: Manifest) => name === "admin"));
    assert.deepEqual(spec.namespaceSelector.matchNames, ["shop"]);
  });

  test("has all rules as they are in the file", async () => {
    const { spec } = (await render({ prometheusRule: { enabled: true } })).one("PrometheusRule");
    assert.deepEqual(spec.groups, rules.groups);
  });

  test("leaves out the alerts that it is told to, and gives all others the labels of the team", async () => {
    const { metadata, spec } = (await render(valuesFile("monitoring"))).one("PrometheusRule");
    assert.equal(metadata.labels.release, "prometheus");
    const disabled = ["ParleyAnswersUnpriced", "ParleyAbsent"];
    const expected = alertsIn(rules.groups).filter(({ alert }) => !disabled.includes(alert));
    assert.deepEqual(
      alertsIn(spec.groups),
      expected.map((alert) => ({ ...alert, labels: { ...alert.labels, team: "search" } })),
    );
    const records = (groups: Manifest) =>
      groups.flatMap(({ rules }: Manifest) => rules).filter(({ record }: Manifest) => record !== undefined);
    assert.deepEqual(records(spec.groups), records(rules.groups));
  });

  test("gives the dashboard to Grafana's sidecar as it is", async () => {
    const { metadata, data } = (await render(valuesFile("monitoring"))).one("ConfigMap", "-dashboard");
    assert.equal(metadata.labels.grafana_dashboard, "1");
    assert.deepEqual(metadata.annotations, { grafana_folder: "Search" });
    const dashboard = JSON.parse(readFileSync(join(CHART, "dashboards/parley.json"), "utf8"));
    assert.deepEqual(JSON.parse(data["parley.json"]), dashboard);
  });
});
