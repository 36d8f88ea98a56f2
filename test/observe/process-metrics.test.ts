import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { describe, mock, test } from "node:test";
import { setImmediate, setTimeout } from "node:timers/promises";
import { PrometheusExporter } from "@opentelemetry/exporter-prometheus";
import { type DataPoint, type Histogram, MeterProvider } from "@opentelemetry/sdk-metrics";
import { metric } from "../../src/observe/names.ts";
import { observeProcess } from "../../src/observe/process-metrics.ts";
import { startService } from "../support/service.ts";

/** The instruments, with two readers that know nothing of each other. */
function measure() {
  const readers = [
    new PrometheusExporter({ preventServerStart: true }),
    new PrometheusExporter({ preventServerStart: true }),
  ];
  const observing = observeProcess(new MeterProvider({ readers }).getMeter("test"));
  const points = async (name: string, reader = 0) => {
    const collected = await readers[reader]?.collect();
    assert.deepEqual(collected?.errors, []);
    const metrics = collected?.resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics);
    return (metrics?.find(({ descriptor }) => descriptor.name === name)?.dataPoints ?? []) as DataPoint<unknown>[];
  };
  return {
    points,
    value: async (name: string, reader = 0) => (await points(name, reader))[0]?.value as number,
    [Symbol.dispose]: () => observing[Symbol.dispose](),
  };
}

/** Keeps the event loop busy, and lets it come round. */
async function stall(milliseconds: number): Promise<void> {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
  await setImmediate();
  await setImmediate();
}

describe("the metrics of the process", () => {
  test("tell a stall of the event loop to each reader for a minute, and not for ever", async () => {
    mock.timers.enable({ apis: ["setInterval"] });
    try {
      using measured = measure();
      await stall(200);
      for (let seconds = 0; seconds <= 60; seconds += 10) {
        for (const reader of [0, 1, 0, 1]) {
          const max = await measured.value(metric.eventLoopDelayMax, reader);
          assert.ok(max >= 0.2 && max < 2, `${max} s after ${seconds} s`);
        }
        mock.timers.tick(10_000);
      }
      const max = await measured.value(metric.eventLoopDelayMax);
      assert.ok(max < 0.2, `${max} s after 70 s`);
    } finally {
      mock.timers.reset();
    }
  });

  test("tell also of a stall that begins with a new window", async () => {
    mock.timers.enable({ apis: ["setInterval"] });
    try {
      using measured = measure();
      await stall(1);
      mock.timers.tick(10_000);
      await stall(200);
      assert.ok((await measured.value(metric.eventLoopDelayMax)) >= 0.2);
    } finally {
      mock.timers.reset();
    }
  });

  test("tell of an idle event loop that nothing waits for it", async () => {
    using measured = measure();
    for (let turns = 0; turns < 100; turns++) await setImmediate();
    const delay = await measured.value(metric.eventLoopDelayP50);
    assert.ok(delay >= 0 && delay < 0.005, `${delay} s`);
  });

  test("tell all of delays and use of the event loop before anything was measured", async () => {
    using measured = measure();
    for (const name of [metric.eventLoopDelayMean, metric.eventLoopDelayP50, metric.eventLoopUtilization]) {
      assert.ok((await measured.value(name)) >= 0, name);
    }
  });

  test("tell each reader how busy the event loop was, whatever others have read", async () => {
    using measured = measure();
    await stall(200);
    const busy = await measured.value(metric.eventLoopUtilization, 0);
    assert.ok(busy > 0.5 && busy <= 1, String(busy));
    // Nothing to do: for whoever counted from the last reading, this would be all.
    await setTimeout(50);
    const still = await measured.value(metric.eventLoopUtilization, 1);
    assert.ok(still > 0.5 && still < busy, `${still} after ${busy}`);
  });

  test("count garbage collections by their kind", async () => {
    using measured = measure();
    const kept: object[] = [];
    let counted: DataPoint<Histogram>[] = [];
    while (counted.length === 0) {
      for (let objects = 0; objects < 100_000; objects++) kept[objects] = { objects };
      await setImmediate();
      counted = (await measured.points(metric.gcDuration)) as DataPoint<Histogram>[];
    }
    const minor = counted.find(({ attributes }) => attributes["v8js.gc.type"] === "minor");
    const { count = 0, sum = 0 } = minor?.value ?? {};
    assert.ok(count > 0 && sum > 0 && sum < 10, `${count} in ${sum} s`);
  });

  test("count open files", { skip: process.platform !== "linux" && "only Linux tells them" }, async () => {
    using measured = measure();
    const before = await measured.value(metric.fileDescriptors);
    const files = Array.from({ length: 20 }, () => openSync(import.meta.filename, "r"));
    const during = await measured.value(metric.fileDescriptors);
    for (const file of files) closeSync(file);
    assert.equal(during - before, 20);
  });

  test("end when they are disposed", () => {
    const setInterval = mock.method(globalThis, "setInterval");
    const clearInterval = mock.method(globalThis, "clearInterval");
    try {
      measure()[Symbol.dispose]();
      assert.deepEqual(
        clearInterval.mock.calls.map(({ arguments: [timer] }) => timer),
        setInterval.mock.calls.map(({ result }) => result),
      );
      assert.equal(setInterval.mock.callCount(), 1);
    } finally {
      mock.restoreAll();
    }
  });

  test("are in a scrape, all of them", async () => {
    await using service = await startService();
    const names = Object.values(metric).filter((name) => /^(process|v8js|nodejs)\./.test(name));
    assert.equal(names.length, 12);
    const expected = process.platform === "linux" ? names : names.filter((name) => name !== metric.fileDescriptors);
    let text = "";
    // Garbage may not have been collected yet.
    while (!text.includes("v8js_gc_duration")) text = await (await fetch(`${service.adminUrl}/metrics`)).text();
    const missing = expected.filter((name) => !new RegExp(`^${name.replaceAll(".", "_")}`, "m").test(text));
    assert.deepEqual(missing, []);
    assert.match(text, /^process_cpu_time_total\{.*cpu_mode="user".*\} \d/m);
  });
});
