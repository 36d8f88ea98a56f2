import { setInterval } from "node:timers";
import { Collector, type OtlpProtocol } from "../load/collector.ts";
import type { Upstream } from "../load/upstream.ts";
import { freePort } from "./server.ts";
import { type Subject, startParley } from "./subjects.ts";

/** Parley with a form of telemetry. */
export interface TelemetryVariant extends Omit<Subject, "name"> {
  readonly name: string;
  /** The share of calls that are sampled. */
  readonly sampled: number;
  /** Where spans go. Undefined: nothing is traced. */
  readonly collector: Collector | undefined;
  /** Asks for its metrics until that is disposed. Undefined: nobody does. */
  readonly startScraping: (() => Disposable) | undefined;
}

interface Form {
  readonly name: string;
  readonly scraped?: boolean;
  readonly protocol?: OtlpProtocol;
  /** The share of calls that are sampled. Unset: nothing is traced. */
  readonly sampled?: number;
}

/** All else is as it is without the variables. The first is what the others are compared with. */
export const FORMS = [
  { name: "off" },
  { name: "scraped", scraped: true },
  { name: "metrics sent", protocol: "http/protobuf" },
  { name: "1 %", protocol: "http/protobuf", sampled: 0.01 },
  { name: "all", protocol: "http/protobuf", sampled: 1 },
  { name: "all, gRPC", protocol: "grpc", sampled: 1 },
] as const satisfies readonly Form[];

const SCRAPE_INTERVAL_MS = 1_000;

/** Starts Parley in a form, with a collector of its own. Both end with `stack`. */
export async function startVariant(
  { name, scraped = false, protocol, sampled }: Form,
  upstream: Upstream,
  stack: AsyncDisposableStack,
): Promise<TelemetryVariant> {
  const collector = protocol && stack.use(await Collector.listen(protocol));
  const adminPort = await freePort();
  const { server, open } = await startParley(upstream, {
    ADMIN_PORT: String(adminPort),
    ...(collector !== undefined && {
      OTEL_TRACES_EXPORTER: sampled === undefined ? "none" : "otlp",
      OTEL_METRICS_EXPORTER: sampled === undefined ? "otlp" : "none",
      OTEL_METRIC_EXPORT_INTERVAL: String(SCRAPE_INTERVAL_MS),
      OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
      OTEL_TRACES_SAMPLER_ARG: String(sampled ?? 0),
    }),
  });
  stack.use(server);
  return {
    name,
    server,
    open,
    sampled: sampled ?? 0,
    collector,
    startScraping: scraped ? () => startScraping(`http://127.0.0.1:${adminPort}/metrics`) : undefined,
  };
}

function startScraping(url: string): Disposable {
  const scrape = async () => (await fetch(url)).text();
  const timer = setInterval(() => void scrape(), SCRAPE_INTERVAL_MS);
  void scrape();
  return timer;
}
