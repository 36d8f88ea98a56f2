import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import type { Meter } from "@opentelemetry/api";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import type { CallRecord } from "../rpc/call.ts";
import { statusName } from "./status-name.ts";

/** Bounds of buckets in seconds: from a cached unary call to an agent's ten minutes. */
const DURATION_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600];

export interface Metrics extends AsyncDisposable {
  callStarted(record: CallRecord): void;
  callEnded(record: CallRecord): void;
  /** All metrics in the text format of Prometheus. */
  scrape(): Promise<string>;
}

/** Instruments of RPCs and of the process, by OpenTelemetry's conventions where there are some. */
export function createMetrics(): Metrics {
  const reader = new PrometheusExporter({ preventServerStart: true });
  const provider = new MeterProvider({ readers: [reader] });
  const meter = provider.getMeter("parley");
  const duration = meter.createHistogram("rpc.server.call.duration", {
    description: "Time from the first byte of a call to the last of its answer.",
    unit: "s",
    advice: { explicitBucketBoundaries: DURATION_BUCKETS },
  });
  const active = meter.createUpDownCounter("parley.rpc.active_calls", {
    description: "Calls in progress.",
    unit: "{call}",
  });
  const stopProcess = observeProcess(meter);
  const serializer = new PrometheusSerializer(undefined, false, undefined, true, true);

  return {
    callStarted: ({ method }) => active.add(1, { "rpc.method": method }),
    callEnded: (record) => {
      active.add(-1, { "rpc.method": record.method });
      duration.record((performance.now() - record.startedAt) / 1_000, {
        "rpc.system.name": record.protocol,
        "rpc.method": record.method,
        "rpc.response.status_code": statusName(record.code ?? 2),
      });
    },
    async scrape() {
      const { resourceMetrics } = await reader.collect();
      return serializer.serialize(resourceMetrics);
    },
    async [Symbol.asyncDispose]() {
      stopProcess();
      await provider.shutdown();
    },
  };
}

/** The process itself: what one event loop can be short of. Returns what stops the observation. */
function observeProcess(meter: Meter): () => void {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  let utilization = performance.eventLoopUtilization();
  meter
    .createObservableCounter("process.cpu.time", { description: "CPU time used.", unit: "s" })
    .addCallback((result) => {
      const { user, system } = process.cpuUsage();
      result.observe(user / 1e6, { "cpu.mode": "user" });
      result.observe(system / 1e6, { "cpu.mode": "system" });
    });
  meter
    .createObservableGauge("process.memory.usage", { description: "Resident memory.", unit: "By" })
    .addCallback((result) => result.observe(process.memoryUsage.rss()));
  meter
    .createObservableGauge("v8js.memory.heap.used", { description: "JavaScript heap in use.", unit: "By" })
    .addCallback((result) => result.observe(process.memoryUsage().heapUsed));
  meter
    .createObservableGauge("nodejs.eventloop.utilization", {
      description: "Share of the time since the last scrape that the event loop was busy.",
      unit: "1",
    })
    .addCallback((result) => {
      const now = performance.eventLoopUtilization();
      result.observe(performance.eventLoopUtilization(now, utilization).utilization);
      utilization = now;
    });
  meter
    .createObservableGauge("nodejs.eventloop.delay.p99", {
      description: "99th percentile of the event loop's delay since the last scrape.",
      unit: "s",
    })
    .addCallback((result) => {
      result.observe(delay.percentile(99) / 1e9);
      delay.reset();
    });
  return () => delay.disable();
}
