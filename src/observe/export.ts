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
import { type Config, ConfigError } from "../config/config.ts";
import type { OtlpMetrics, OtlpProtocol } from "../config/telemetry-environment.ts";
import { createDiagnostics } from "./diagnostics.ts";
import type { Logger } from "./logger.ts";
import type { Telemetry } from "./telemetry.ts";

/**
 * How long the end of the process waits for a collector. The grace period of the chart has room for it, also after the four
 * seconds that the program of an MCP server may take to end.
 */
const FLUSH_MS = 3_000;

/**
 * With content, a span has 40 KiB and more. A collector takes 4 MiB at once over gRPC, unless it is told otherwise, and what
 * waits for one that is down must not fill the memory. What is set goes before this.
 */
const SPANS_WITH_CONTENT = { OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "32", OTEL_BSP_MAX_QUEUE_SIZE: "512" };

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
  settings: Config["telemetry"],
  reader: IMetricReader,
  logger: Logger,
): Omit<Telemetry, "scrape"> {
  const { traces, otlpMetrics, serviceName, serviceVersion, diagnostics, captureContent } = settings;
  const readers = [reader, ...(otlpMetrics === undefined ? [] : [exportingReader(otlpMetrics)])];
  // The SDK has no other way to be told.
  if (captureContent) for (const [name, value] of Object.entries(SPANS_WITH_CONTENT)) process.env[name] ||= value;
  startNodeSdk({
    // It would write to the console, past the log, and quote what it cannot use.
    logLevel: "none",
    resourceAttributes: { "service.name": serviceName, "service.version": serviceVersion },
    metricReaders: readers,
    // Without processors of ours, the SDK makes those that the environment asks for. Logs are never exported.
    ...(!traces && { spanProcessors: [] }),
    logRecordProcessors: [],
  });
  // What it has started, it puts into the global places alone.
  const meterProvider = metrics.getMeterProvider();
  if (!(meterProvider instanceof MeterProvider)) throw unusable();
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
      // That a collector has refused them, or is not there, its exporter has told.
      const isSent = outcome?.every(({ status }) => status === "fulfilled") ?? false;
      if (!isSent) logger.warn("the last spans and metrics could not all be sent");
      for (const place of [trace, metrics, propagation, context, diag]) place.disable();
    },
  };
}

function exportingReader({ protocol, interval, timeout }: OtlpMetrics): IMetricReader {
  try {
    const exporter = new METRIC_EXPORTERS[protocol]();
    return new PeriodicExportingMetricReader({
      exporter,
      exportIntervalMillis: interval,
      exportTimeoutMillis: timeout,
    });
  } catch {
    throw unusable();
  }
}

/** Why is not told: that may quote a secret. */
function unusable(): ConfigError {
  return new ConfigError([
    "OpenTelemetry cannot use the OTEL_EXPORTER_OTLP_* variables: see that certificates and keys are PEM, and go together",
  ]);
}

/** The API has no type for what every SDK's provider can do. */
async function shutDown(provider: object | undefined): Promise<void> {
  await (provider as { shutdown(): Promise<void> } | undefined)?.shutdown();
}
