import type { Config } from "../config/config.ts";
import type { Credential } from "../config/credential.ts";
import type { PriceConfig } from "../config/prices-schema.ts";
import type { GrpcServiceConfig, McpServerConfig } from "../config/tools-schema.ts";

/** What is shown of a value. */
type Shown = (value: unknown) => unknown;

/** Members of a type, or of each of a union. */
type NamesOf<T> = T extends object ? keyof T : never;

/** Stands for what is not shown. */
const MASK = "***";

const masked: Shown = () => MASK;
const text: Shown = (value) => (typeof value === "string" ? value : MASK);
const texts = list(text);
/** An object that has numbers and such only. */
const numbers = object({});

/** Of a URL the path, too, may be a secret that opens it. */
const origin: Shown = (value) => {
  if (value === "") return "";
  const url = URL.parse(String(value));
  if (url === null) return MASK;
  return url.href === `${url.origin}/` ? url.origin : `${url.origin}/${MASK}`;
};

const price = object<PriceConfig>({ from: text });

const target: Shown = (value) => String(value).replace(/[^/]*@/, `${MASK}@`);

/** The program without its arguments. */
const command: Shown = (value) => (value as readonly string[]).map((part, index) => (index === 0 ? part : MASK));

/**
 * The configuration in force. What is not listed here is masked, unless it is a number or a switch: neither a text that may
 * be a secret nor a member that is new comes out before somebody has thought of it.
 */
export const shownConfig: (config: Config) => unknown = object<Config>({
  baseUrl: origin,
  logLevel: text,
  ineffective: texts,
  credential: object<Credential>({
    kind: text,
    ruleId: text,
    organizationId: text,
    serviceAccountId: text,
    workspaceId: text,
    identityTokenFile: text,
  }),
  proxy: object<Config["proxy"]>({ httpProxy: origin, httpsProxy: origin, noProxy: text }),
  claude: object<Config["claude"]>({
    model: text,
    fallbackModels: texts,
    allowedBetas: texts,
    allowedExtraParams: texts,
    workspaceId: text,
    promptCaching: numbers,
    retry: numbers,
  }),
  runs: object<Config["runs"]>({ defaults: numbers, caps: numbers }),
  tools: object<Config["tools"]>({
    local: texts,
    grpc: list(
      object<GrpcServiceConfig>({
        name: text,
        target,
        descriptors: text,
        tls: object<GrpcServiceConfig["tls"]>({ caFile: text, certFile: text, keyFile: text, serverName: text }),
        methods: list(object<GrpcServiceConfig["methods"][number]>({ name: text, tool: text, description: text })),
        forwardHeaders: texts,
      }),
    ),
    mcp: list(
      object<McpServerConfig>({
        name: text,
        url: origin,
        headers: record(masked),
        headerFiles: record(text),
        command,
        env: record(masked),
        tools: texts,
        approval: texts,
      }),
    ),
    descriptors: texts,
  }),
  prices: record((ofModel) => (Array.isArray(ofModel) ? list(price)(ofModel) : price(ofModel))),
  server: object<Config["server"]>({
    host: text,
    tls: object<Config["server"]["tls"]>({ certFile: text, keyFile: text, clientCaFile: text }),
    corsOrigins: texts,
  }),
  limits: numbers,
  admin: numbers,
  telemetry: object<Config["telemetry"]>({
    otlpMetrics: object<Config["telemetry"]["otlpMetrics"]>({ protocol: text }),
    serviceName: text,
    serviceVersion: text,
    diagnostics: text,
  }),
});

function list(item: Shown): Shown {
  return (value) => (value as readonly unknown[]).map((member) => show(member, item));
}

/** An object whose names are not known before, but harmless. */
function record(member: Shown): Shown {
  return (value) => members(value, () => member);
}

/** An object whose names are known. */
function object<T>(shown: Partial<Record<NamesOf<T>, Shown>>): Shown {
  const byName = new Map(Object.entries(shown) as [string, Shown][]);
  return (value) => members(value, (name) => byName.get(name) ?? masked);
}

function members(value: unknown, shown: (name: string) => Shown): unknown {
  return Object.fromEntries(Object.entries(value as object).map(([name, member]) => [name, show(member, shown(name))]));
}

/** A secret is no number and no switch. */
function show(value: unknown, shown: Shown): unknown {
  const harmless = value === undefined || value === null || typeof value === "number" || typeof value === "boolean";
  return harmless ? value : shown(value);
}
