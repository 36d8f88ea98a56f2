import manifest from "../../package.json" with { type: "json" };

const OTLP_PROTOCOLS = ["grpc", "http/protobuf", "http/json"] as const;
export type OtlpProtocol = (typeof OTLP_PROTOCOLS)[number];

/** What the `OTEL_*` variables ask for. What is not here, the SDK of OpenTelemetry reads itself. */
export interface TelemetrySettings {
  /** Whether spans are exported. */
  readonly traces: boolean;
  /** How metrics are exported, besides being at `/metrics`. Undefined: they are not. */
  readonly otlpMetrics: OtlpMetrics | undefined;
  readonly serviceName: string;
  readonly serviceVersion: string;
  /** The least severe messages of OpenTelemetry itself that are logged. */
  readonly diagnostics: string;
}

export interface OtlpMetrics {
  readonly protocol: OtlpProtocol;
  /** In milliseconds, and so is the timeout, which is never longer. */
  readonly interval: number;
  readonly timeout: number;
}

export interface TelemetryEnvironment {
  readonly settings: TelemetrySettings;
  /** Paths of files that must be readable, by the names of their variables. */
  readonly files: Readonly<Record<string, string>>;
  /** Names that are set but have no effect. */
  readonly ineffective: readonly string[];
}

/** Says what a value must be, when it is not. */
type Check = (value: string) => string | undefined;

const whole = (least: number): Check => {
  return (value) =>
    /^\d{1,9}$/.test(value) && Number(value) >= least ? undefined : `a whole number from ${least} to 999999999`;
};
const oneOf = (...choices: readonly string[]): Check => {
  return (value) => (choices.includes(value) ? undefined : choices.join(" or "));
};
const someOf = (...choices: readonly string[]): Check => {
  return (value) =>
    listOf(value).every((name) => choices.includes(name)) ? undefined : `a list of ${choices.join(", ")}`;
};
const anything: Check = () => undefined;
const ratio: Check = (value) => (Number(value) >= 0 && Number(value) <= 1 ? undefined : "a number from 0 to 1");
const boolean: Check = (value) => oneOf("true", "false")(value.toLowerCase());
const PAIRS = "pairs such as name=value, with commas between them";
const attributes: Check = (value) => (parseAttributes(value) === undefined ? PAIRS : undefined);
const headers: Check = (value) =>
  listOf(value).every(isHeader) ? undefined : `${PAIRS}, of names and texts that a header may have`;

/** For each signal, and with no signal in the name for all of them. */
const EXPORTER: Readonly<Record<string, Check>> = {
  CERTIFICATE: anything,
  CLIENT_CERTIFICATE: anything,
  CLIENT_KEY: anything,
  COMPRESSION: oneOf("gzip", "none"),
  // Checked for each signal, with its protocol.
  ENDPOINT: anything,
  HEADERS: headers,
  INSECURE: boolean,
  PROTOCOL: oneOf(...OTLP_PROTOCOLS),
  TIMEOUT: whole(1),
};

/** Variables with files, by the ends of their names. */
const FILE = /_(?:CERTIFICATE|CLIENT_KEY)$/;

const CHECKS: Readonly<Record<string, Check>> = {
  OTEL_ATTRIBUTE_COUNT_LIMIT: whole(0),
  OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: whole(0),
  OTEL_BSP_EXPORT_TIMEOUT: whole(1),
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: whole(1),
  OTEL_BSP_MAX_QUEUE_SIZE: whole(1),
  OTEL_BSP_SCHEDULE_DELAY: whole(1),
  OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT: whole(0),
  OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: (value) =>
    oneOf("cumulative", "delta", "lowmemory")(value.toLowerCase()),
  OTEL_LINK_ATTRIBUTE_COUNT_LIMIT: whole(0),
  OTEL_LOG_LEVEL: (value) => oneOf("all", "verbose", "debug", "info", "warn", "error", "none")(value.toLowerCase()),
  OTEL_METRICS_EXPORTER: (value) =>
    value === "prometheus"
      ? "otlp or none: for Prometheus, /metrics on the admin port always has all metrics"
      : oneOf("otlp", "none")(value),
  OTEL_METRIC_EXPORT_INTERVAL: whole(1),
  OTEL_METRIC_EXPORT_TIMEOUT: whole(1),
  OTEL_NODE_EXPERIMENTAL_SDK_METRICS: boolean,
  OTEL_NODE_RESOURCE_DETECTORS: someOf("service", "host", "process", "all", "none"),
  OTEL_PROPAGATORS: someOf("tracecontext", "baggage", "b3", "b3multi", "none"),
  OTEL_RESOURCE_ATTRIBUTES: attributes,
  OTEL_SDK_DISABLED: boolean,
  OTEL_SERVICE_NAME: anything,
  OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: whole(0),
  OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT: whole(0),
  OTEL_SPAN_EVENT_COUNT_LIMIT: whole(0),
  OTEL_SPAN_LINK_COUNT_LIMIT: whole(0),
  OTEL_TRACES_EXPORTER: oneOf("otlp", "none"),
  OTEL_TRACES_SAMPLER: oneOf(
    ...["always_on", "always_off", "traceidratio"],
    ...["parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"],
  ),
  OTEL_TRACES_SAMPLER_ARG: ratio,
  ...Object.fromEntries(
    Object.entries(EXPORTER).flatMap(([name, check]) =>
      ["", "TRACES_", "METRICS_"].map((signal) => [`OTEL_EXPORTER_OTLP_${signal}${name}`, check]),
    ),
  ),
};

/** All names that mean something to Parley. */
export const TELEMETRY_NAMES = Object.keys(CHECKS).sort();

/** Reads the `OTEL_*` variables. All that is wrong is added to `problems`, a line each. An empty value counts as unset. */
export function readTelemetryEnvironment(env: NodeJS.Dict<string>, problems: string[]): TelemetryEnvironment {
  const get = (name: string) => (env[name]?.trim() ? env[name] : undefined);
  const given = Object.keys(env).filter((name) => name.startsWith("OTEL_") && get(name) !== undefined);
  const off = get("OTEL_SDK_DISABLED")?.trim().toLowerCase() === "true";
  const checked = off ? [] : given.filter((name) => CHECKS[name] !== undefined);
  for (const name of checked) {
    const wanted = CHECKS[name]?.(get(name) ?? "");
    // A header may be a secret, and an attribute too.
    const shown = /_(?:HEADERS|ATTRIBUTES)$/.test(name) ? "" : `, but is ${JSON.stringify(get(name))}`;
    if (wanted !== undefined) problems.push(`${name} must be ${wanted}${shown}`);
  }
  if (!off && get("OTEL_CONFIG_FILE") !== undefined) {
    problems.push("OTEL_CONFIG_FILE is not supported: set what it says with the other OTEL_* variables");
  }
  const exports = (signal: "TRACES" | "METRICS") => !off && asksFor(signal, get);
  for (const signal of ["TRACES", "METRICS"] as const) if (exports(signal)) checkEndpoint(signal, get, problems);
  const resource = parseAttributes(get("OTEL_RESOURCE_ATTRIBUTES") ?? "");
  const interval = Number(get("OTEL_METRIC_EXPORT_INTERVAL") ?? 60_000);
  const timeout = Number(get("OTEL_METRIC_EXPORT_TIMEOUT") ?? 30_000);
  return {
    settings: {
      traces: exports("TRACES"),
      otlpMetrics: exports("METRICS")
        ? { protocol: protocolOf("METRICS", get), interval, timeout: Math.min(timeout, interval) }
        : undefined,
      serviceName: get("OTEL_SERVICE_NAME") ?? resource?.get("service.name") ?? manifest.name,
      serviceVersion: resource?.get("service.version") ?? manifest.version,
      diagnostics: get("OTEL_LOG_LEVEL") ?? "warn",
    },
    files: Object.fromEntries(checked.filter((name) => FILE.test(name)).map((name) => [name, get(name)?.trim() ?? ""])),
    ineffective: off ? [] : given.filter((name) => !isKnown(name, get(name))),
  };
}

/** Whether a signal is exported: because its exporter is named, or because there is somewhere to send it. */
function asksFor(signal: string, get: (name: string) => string | undefined): boolean {
  const exporter = get(`OTEL_${signal}_EXPORTER`);
  if (exporter !== undefined) return exporter !== "none";
  return (get(`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`) ?? get("OTEL_EXPORTER_OTLP_ENDPOINT")) !== undefined;
}

function protocolOf(signal: string, get: (name: string) => string | undefined): OtlpProtocol {
  const value = get(`OTEL_EXPORTER_OTLP_${signal}_PROTOCOL`) ?? get("OTEL_EXPORTER_OTLP_PROTOCOL");
  return OTLP_PROTOCOLS.find((protocol) => protocol === value) ?? "http/protobuf";
}

function checkEndpoint(signal: string, get: (name: string) => string | undefined, problems: string[]): void {
  const names = [`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`, "OTEL_EXPORTER_OTLP_ENDPOINT"];
  const name = names.find((name) => get(name) !== undefined);
  if (name === undefined) return;
  const value = get(name) ?? "";
  const protocol = protocolOf(signal, get);
  const url = URL.parse(protocol === "grpc" && !value.includes("://") ? `https://${value}` : value);
  // A URL may have spaces around it. But the exporters would not find the host then.
  if (url !== null && /^https?:$/.test(url.protocol) && !/\s/.test(value)) return;
  const wanted = `${protocol === "grpc" ? "host:port, or " : ""}an http or https URL, since the protocol is ${protocol}`;
  const problem = `${name} must be ${wanted}`;
  if (!problems.includes(problem)) problems.push(problem);
}

/** `OTEL_LOGS_EXPORTER=none` says what is so anyway. */
function isKnown(name: string, value: string | undefined): boolean {
  const isSo = name === "OTEL_LOGS_EXPORTER" && value === "none";
  return isSo || name === "OTEL_CONFIG_FILE" || CHECKS[name] !== undefined;
}

/** What both gRPC and HTTP take: the SDK's exporters throw at others, with what was set in the message. */
function isHeader(pair: string): boolean {
  const [, name = "", value = ""] = /^([^=]+)=(.+)$/s.exec(pair) ?? [];
  try {
    const text = decodeURIComponent(value.trim());
    return /^[\w.-]+$/.test(decodeURIComponent(name.trim())) && !/-bin$/i.test(name.trim()) && /^[ -~]+$/.test(text);
  } catch {
    return false;
  }
}

function listOf(value: string): readonly string[] {
  return value
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}

/** Undefined: they cannot be parsed, and the SDK would pass over all of them in silence. */
function parseAttributes(value: string): ReadonlyMap<string, string> | undefined {
  const result = new Map<string, string>();
  for (const pair of listOf(value)) {
    const [, name, text] = /^([^=]+)=([^=]*)$/.exec(pair) ?? [];
    if (name === undefined || text === undefined) return undefined;
    try {
      result.set(decodeURIComponent(name.trim()), decodeURIComponent(text.trim()));
    } catch {
      return undefined;
    }
  }
  return result;
}
