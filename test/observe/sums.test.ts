import assert from "node:assert/strict";
import { test } from "node:test";
import { PrometheusExporter } from "@opentelemetry/exporter-prometheus";
import { type DataPoint, MeterProvider } from "@opentelemetry/sdk-metrics";
import { Sums } from "../../src/observe/sums.ts";

function createSums() {
  const reader = new PrometheusExporter({ preventServerStart: true });
  const meter = new MeterProvider({ readers: [reader] }).getMeter("test");
  const sums = new Sums(meter.createObservableCounter("calls"));
  /** What is told, by the text of the labels. */
  const told = async () => {
    const { resourceMetrics } = await reader.collect();
    const points = (resourceMetrics.scopeMetrics[0]?.metrics[0]?.dataPoints ?? []) as DataPoint<number>[];
    return new Map(points.map(({ attributes, value }) => [JSON.stringify(attributes), value]));
  };
  return { sums, told };
}

test("a sum is told once something has been added to it, even nothing, and goes on from one time to the next", async () => {
  const { sums, told } = createSums();
  const [one, other] = [sums.with({ name: "one" }), sums.with({ name: "other" })];
  sums.with({ name: "none" });
  one.add(1);
  other.add(0);
  assert.deepEqual(
    await told(),
    new Map([
      ['{"name":"one"}', 1],
      ['{"name":"other"}', 0],
    ]),
  );
  one.add(2);
  assert.equal((await told()).get('{"name":"one"}'), 3);
});

test("labels without end are one series beyond as many as OpenTelemetry allows, and nothing is lost", async () => {
  const { sums, told } = createSums();
  for (let i = 0; i < 3_000; i++) sums.with({ name: String(i) }).add(1);
  const all = await told();
  assert.equal(all.size, 2_000);
  assert.equal(all.get('{"otel.metric.overflow":true}'), 1_001);
});
