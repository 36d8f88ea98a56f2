import { readdir } from "node:fs/promises";
import {
  constants,
  monitorEventLoopDelay,
  type PerformanceNodeEntry,
  PerformanceObserver,
  performance,
} from "node:perf_hooks";
import { getHeapStatistics } from "node:v8";
import type { Meter, ObservableCallback } from "@opentelemetry/api";
import { attribute, GC_BUCKETS, metric } from "./names.ts";

/** How long a stall of the event loop is told: six windows of ten seconds, and the one that has begun. */
const WINDOWS = { count: 6, ms: 10_000 };

const GC_TYPES: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MAJOR]: "major",
  [constants.NODE_PERFORMANCE_GC_MINOR]: "minor",
  [constants.NODE_PERFORMANCE_GC_MINOR_MARK_SWEEP]: "minor",
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: "incremental",
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: "weakcb",
};

/**
 * Instruments of the process itself: what one event loop can be short of. Several readers can collect them at any
 * interval, because no collection resets anything. Disposed, it stops to measure; what it measured can still be read.
 */
export function observeProcess(meter: Meter): Disposable {
  observeResources(meter);
  const stopping = new DisposableStack();
  stopping.use(observeGarbageCollection(meter));
  stopping.use(observeEventLoop(meter));
  return stopping;
}

function observeResources(meter: Meter): void {
  meter.createObservableCounter(metric.cpuTime, { description: "CPU time used.", unit: "s" }).addCallback((result) => {
    const { user, system } = process.cpuUsage();
    result.observe(user / 1e6, { [attribute.cpuMode]: "user" });
    result.observe(system / 1e6, { [attribute.cpuMode]: "system" });
  });
  const observe = (name: string, unit: string, description: string, callback: ObservableCallback) =>
    meter.createObservableUpDownCounter(name, { description, unit }).addCallback(callback);
  observe(metric.residentMemory, "By", "Resident memory.", (result) => result.observe(process.memoryUsage.rss()));
  // The conventions count both for each space of the heap. But V8 has a limit for all of them only.
  observe(metric.heapUsed, "By", "JavaScript heap in use.", (result) =>
    result.observe(getHeapStatistics().used_heap_size),
  );
  observe(metric.heapLimit, "By", "JavaScript heap at which the process ends for want of memory.", (result) =>
    result.observe(getHeapStatistics().heap_size_limit),
  );
  if (process.platform !== "linux") return;
  observe(metric.fileDescriptors, "{file_descriptor}", "File descriptors, sockets included.", async (result) => {
    // One of them is that of the folder.
    result.observe((await readdir("/proc/self/fd")).length - 1);
  });
}

function observeGarbageCollection(meter: Meter): Disposable {
  const duration = meter.createHistogram(metric.gcDuration, {
    description: "Time that a garbage collection took.",
    unit: "s",
    advice: { explicitBucketBoundaries: GC_BUCKETS },
  });
  const observer = new PerformanceObserver((list) => {
    for (const { duration: milliseconds, detail } of list.getEntries() as PerformanceNodeEntry[]) {
      duration.record(milliseconds / 1_000, { [attribute.gcType]: GC_TYPES[detail.kind] ?? "other" });
    }
  });
  observer.observe({ entryTypes: ["gc"] });
  return { [Symbol.dispose]: () => observer.disconnect() };
}

/** Delays of the event loop in a window, in seconds. */
type Delays = Readonly<Record<"mean" | "p50" | "p90" | "p99" | "max", number>>;

function observeEventLoop(meter: Meter): Disposable {
  // By a timer, each delay would have the timer's interval in it, and a stall that begins with a window would be lost.
  const histogram = monitorEventLoopDelay({ samplePerIteration: true });
  histogram.enable();
  const current = (): Delays => ({
    // Nothing was measured yet: NaN.
    mean: (histogram.mean || 0) / 1e9,
    p50: histogram.percentile(50) / 1e9,
    p90: histogram.percentile(90) / 1e9,
    p99: histogram.percentile(99) / 1e9,
    max: histogram.max / 1e9,
  });
  const windows: Delays[] = [];
  const utilizations = [performance.eventLoopUtilization()];
  const timer = setInterval(() => {
    windows.push(current());
    histogram.reset();
    utilizations.push(performance.eventLoopUtilization());
    if (windows.length > WINDOWS.count) windows.shift();
    if (utilizations.length > WINDOWS.count) utilizations.shift();
  }, WINDOWS.ms).unref();

  meter
    .createObservableGauge(metric.eventLoopUtilization, {
      description: "Share of the last minute that the event loop was busy.",
      unit: "1",
    })
    .addCallback((result) => {
      const [oldest] = utilizations;
      result.observe(performance.eventLoopUtilization(performance.eventLoopUtilization(), oldest).utilization);
    });
  const what = "how long an iteration of the event loop takes, of the worst ten seconds in the last minute";
  for (const [name, key, description] of [
    [metric.eventLoopDelayMean, "mean", `Mean of ${what}.`],
    [metric.eventLoopDelayP50, "p50", `Median of ${what}.`],
    [metric.eventLoopDelayP90, "p90", `90th percentile of ${what}.`],
    [metric.eventLoopDelayP99, "p99", `99th percentile of ${what}.`],
    [metric.eventLoopDelayMax, "max", `Maximum of ${what}.`],
  ] as const) {
    meter.createObservableGauge(name, { description, unit: "s" }).addCallback((result) => {
      result.observe(Math.max(current()[key], ...windows.map((window) => window[key])));
    });
  }
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      histogram.disable();
    },
  };
}
