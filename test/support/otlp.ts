import { spawnSync } from "node:child_process";
import { type RunningProcess, startCommand } from "./process.ts";

/**
 * Why tests that need the receiver must be skipped; false: it is there. With CI_TOOLS=1, which `.ci/run` sets, it has to be.
 */
export function missingReceiver(): string | false {
  if (process.env.CI_TOOLS === "1" || spawnSync("which", ["otlp-receiver"]).status === 0) return false;
  return "otlp-receiver is not on the PATH (.ci/run builds it with Go)";
}

/** An attribute's value as the JSON of OTLP has it: a member for its type. */
type Value = Readonly<Record<string, unknown>>;

interface Resource {
  readonly resource: { readonly attributes: readonly { readonly key: string; readonly value: Value }[] };
}

export interface Span {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
}

/** What a line of the receiver has. */
interface Received {
  readonly resourceSpans?: readonly (Resource & {
    readonly scopeSpans: readonly { readonly spans: readonly Span[] }[];
  })[];
  readonly resourceMetrics?: readonly (Resource & {
    readonly scopeMetrics: readonly { readonly metrics: readonly { readonly name: string }[] }[];
  })[];
}

/** Disposed, it has told of all that it was sent. */
export interface OtlpReceiver extends AsyncDisposable {
  /** The endpoint for a protocol. */
  endpoint(protocol: string): string;
  /** All spans that have arrived. */
  spans(): readonly Span[];
  /** The names of all metrics that have arrived. */
  metrics(): ReadonlySet<string>;
  /** The resources of all that has arrived, each different one once. */
  resources(): readonly Readonly<Record<string, unknown>>[];
  /** Resolves when what has arrived fits: at once, or with what is still to come. */
  until(fits: () => boolean): Promise<void>;
}

/** Starts the OTLP receiver of the OpenTelemetry Collector, which takes gRPC and HTTP. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const running: RunningProcess = startCommand("otlp-receiver", [], {});
  const [grpc, http] = await Promise.all(
    ["Starting GRPC server", "Starting HTTP server"].map((text) => running.line(({ msg }) => msg === text)),
  );
  const received = () => running.logs.flatMap(({ data }) => (data === undefined ? [] : [data as Received]));
  const ofSpans = () => received().flatMap(({ resourceSpans = [] }) => resourceSpans);
  const ofMetrics = () => received().flatMap(({ resourceMetrics = [] }) => resourceMetrics);
  return {
    endpoint: (protocol) => `http://${(protocol === "grpc" ? grpc : http)?.endpoint}`,
    spans: () => ofSpans().flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
    metrics() {
      const scopes = ofMetrics().flatMap(({ scopeMetrics }) => scopeMetrics);
      return new Set(scopes.flatMap(({ metrics }) => metrics.map(({ name }) => name)));
    },
    resources() {
      const texts = [...ofSpans(), ...ofMetrics()].map(({ resource: { attributes } }) =>
        JSON.stringify(Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))),
      );
      return [...new Set(texts)].map((text) => JSON.parse(text));
    },
    async until(fits) {
      await running.line(() => fits());
    },
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}
