import type { MeterProvider, TextMapPropagator, TracerProvider } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { MeterProvider as SdkMeterProvider } from "@opentelemetry/sdk-metrics";
import type { Config } from "../config/config.ts";
import type { Logger } from "./logger.ts";

/** Where spans and metrics go. */
export interface Telemetry extends AsyncDisposable {
  /** Undefined: nothing is traced. */
  readonly tracerProvider: TracerProvider | undefined;
  /** Reads and writes the trace that a call is part of. */
  readonly propagator: TextMapPropagator;
  readonly meterProvider: MeterProvider;
  /** All metrics in the text format of Prometheus. */
  scrape(): Promise<string>;
}

/**
 * Starts what the `OTEL_*` variables ask for, which the SDK of OpenTelemetry reads itself. Disposed, it sends what has not
 * been sent, and waits no longer than five seconds for that.
 *
 * @throws {ConfigError} when the SDK cannot use what it reads.
 */
export async function startTelemetry(settings: Config["telemetry"], logger: Logger): Promise<Telemetry> {
  if (!settings.traces && settings.otlpMetrics === undefined) return startLocalTelemetry();
  // It is large: whoever sends nothing need not wait for it to be loaded, nor have it in memory.
  const { startExport } = await import("./export.ts");
  const reader = createPrometheusReader();
  return { ...startExport(settings, reader, logger), scrape: () => scrape(reader) };
}

/** Traces nothing, and sends nothing anywhere: metrics can be scraped. */
export function startLocalTelemetry(): Telemetry {
  const reader = createPrometheusReader();
  const meterProvider = new SdkMeterProvider({ readers: [reader] });
  return {
    tracerProvider: undefined,
    propagator: new W3CTraceContextPropagator(),
    meterProvider,
    scrape: () => scrape(reader),
    [Symbol.asyncDispose]: () => meterProvider.shutdown(),
  };
}

function createPrometheusReader(): PrometheusExporter {
  return new PrometheusExporter({ preventServerStart: true });
}

async function scrape(reader: PrometheusExporter): Promise<string> {
  const { resourceMetrics } = await reader.collect();
  // It is read, although nothing is told of it, and warns of itself while something is still being found out.
  await resourceMetrics.resource.waitForAsyncAttributes?.();
  // No prefix, no timestamps, no labels of the resource, neither target_info nor the scope.
  return new PrometheusSerializer(undefined, false, undefined, true, true).serialize(resourceMetrics);
}
