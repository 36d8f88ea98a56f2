import { setTimeout } from "node:timers/promises";
import { context, diag, metrics, type ProxyTracerProvider, propagation, trace } from "@opentelemetry/api";
import { diagLogLevelFromString } from "@opentelemetry/core";
import { OTLPMetricExporter as GrpcExporter } from "@opentelemetry/exporter-metrics-otlp-grpc";
import { OTLPMetricExporter as JsonExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPMetricExporter as ProtobufExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import {
  type IMetricReader,
  MeterProvider,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from "@opentelemetry/sdk-metrics";
import { startNodeSdk } from "@opentelemetry/sdk-node";
import { ConfigError } from "../config/config.ts";
import type { OtlpProtocol, TelemetrySettings } from "../config/telemetry-environment.ts";
import { createDiagnostics } from "./diagnostics.ts";
import type { Logger } from "./logger.ts";
import type { Telemetry } from "./telemetry.ts";

/** How long the end of the process waits for a collector. The grace period of the chart has room for it. */
const FLUSH_MS = 5_000;

/** Each reads the rest of its settings from the environment. */
const METRIC_EXPORTERS: Readonly<Record<OtlpProtocol, new () => PushMetricExporter>> = {
  grpc: GrpcExporter,
  "http/json": JsonExporter,
  "http/protobuf": ProtobufExporter,
};

/**
 * Starts the SDK of OpenTelemetry, which reads from the environment what is not in the settings. `reader` gets the same
 * metrics as the collector.
 *
 * @throws {ConfigError} when the SDK cannot use what it reads.
 */
export function startExport(
  settings: TelemetrySettings,
  reader: IMetricReader,
  logger: Logger,
): Omit<Telemetry, "scrape"> {
  const { traces, otlpMetrics, serviceName, serviceVersion, diagnostics } = settings;
  const readers = [reader];
  if (otlpMetrics !== undefined) {
    readers.push(
      new PeriodicExportingMetricReader({
        exporter: new METRIC_EXPORTERS[otlpMetrics.protocol](),
        exportIntervalMillis: otlpMetrics.interval,
        exportTimeoutMillis: otlpMetrics.timeout,
      }),
    );
  }
  startNodeSdk({
    logLevel: diagnostics,
    resourceAttributes: { "service.name": serviceName, "service.version": serviceVersion },
    metricReaders: readers,
    // Without processors of ours, the SDK makes those that the environment asks for. Logs are never exported.
    ...(!traces && { spanProcessors: [] }),
    logRecordProcessors: [],
  });
  // What it has started, it puts into the global places alone.
  const meterProvider = metrics.getMeterProvider();
  if (!(meterProvider instanceof MeterProvider)) {
    throw new ConfigError(["the OTEL_* variables cannot be used: a line of OpenTelemetry in the log says why"]);
  }
  const tracerProvider = traces ? (trace.getTracerProvider() as ProxyTracerProvider).getDelegate() : undefined;
  const logLevel = diagLogLevelFromString(diagnostics) as number;
  diag.setLogger(createDiagnostics(logger), { logLevel, suppressOverrideMessage: true });
  logger.info({ traces, metrics: otlpMetrics !== undefined, service: serviceName }, "telemetry is exported");
  return {
    tracerProvider,
    propagator: propagation,
    meterProvider,
    async [Symbol.asyncDispose]() {
      const inTime = new AbortController();
      const flushed = Promise.allSettled([shutDown(tracerProvider), meterProvider.shutdown()]);
      const late = setTimeout(FLUSH_MS, undefined, { signal: inTime.signal }).catch(() => undefined);
      const outcome = await Promise.race([flushed, late]);
      inTime.abort();
      const isSent = outcome?.every(({ status }) => status === "fulfilled") ?? false;
      if (!isSent) logger.warn("the last spans and metrics could not be sent");
      for (const place of [trace, metrics, propagation, context, diag]) place.disable();
    },
  };
}

/** The API has no type for what every SDK's provider can do. */
async function shutDown(provider: object | undefined): Promise<void> {
  await (provider as { shutdown(): Promise<void> } | undefined)?.shutdown();
}
