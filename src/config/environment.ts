import type { Credential } from "./credential.ts";
import { LOG_LEVELS, type LogLevel } from "./schema.ts";
import { readTelemetryEnvironment, type TelemetryEnvironment } from "./telemetry-environment.ts";

/** The environment, read and checked. Unset members leave the choice to the file or the default. */
export interface Environment {
  readonly port: number;
  readonly adminPort: number;
  readonly configFile: string | undefined;
  readonly logLevel: LogLevel | undefined;
  readonly model: string | undefined;
  readonly maxTokens: number | undefined;
  readonly timeoutSeconds: number;
  readonly baseUrl: string;
  readonly credential: CredentialSource | undefined;
  readonly proxy: ProxySettings | undefined;
  /** `ANTHROPIC_WORKSPACE_ID`. */
  readonly workspaceId: string | undefined;
  readonly telemetry: Pick<TelemetryEnvironment, "settings" | "files">;
  /** Names that are set but have no effect in this version. */
  readonly ineffective: readonly string[];
}

export type CredentialSource =
  | { readonly kind: "apiKey"; readonly value: string }
  | { readonly kind: "apiKeyFile"; readonly path: string }
  | Extract<Credential, { kind: "federation" }>;

export interface ProxySettings {
  readonly httpProxy: string;
  readonly httpsProxy: string;
  readonly noProxy: string;
}

/** All names that mean something to Parley, besides those of proxies and of OpenTelemetry. */
export const NAMES = [
  "ADMIN_PORT",
  "ANTHROPIC_API_KEY",
  "ANTHROPIC_API_KEY_FILE",
  "ANTHROPIC_BASE_URL",
  "ANTHROPIC_FEDERATION_RULE_ID",
  "ANTHROPIC_IDENTITY_TOKEN_FILE",
  "ANTHROPIC_ORGANIZATION_ID",
  "ANTHROPIC_SERVICE_ACCOUNT_ID",
  "ANTHROPIC_WORKSPACE_ID",
  "CLAUDE_MAX_TOKENS",
  "CLAUDE_MODEL",
  "CLAUDE_REQ_PER_MIN",
  "CLAUDE_TIMEOUT_SEC",
  "CLAUDE_TOKENS_PER_MIN",
  "LOG_LEVEL",
  "PARLEY_CONFIG",
  "PARLEY_QUOTA",
  "PARLEY_STORE",
  "PORT",
];

/** Names of what later versions do, with the values that ask for nothing. */
const INEFFECTIVE: Readonly<Record<string, string>> = {
  CLAUDE_REQ_PER_MIN: "",
  CLAUDE_TOKENS_PER_MIN: "",
  PARLEY_QUOTA: "memory",
  PARLEY_STORE: "memory",
};

const CREDENTIAL_HELP =
  "no credential for Claude: set ANTHROPIC_API_KEY, or ANTHROPIC_API_KEY_FILE to a file that holds the key, or " +
  "ANTHROPIC_FEDERATION_RULE_ID, ANTHROPIC_ORGANIZATION_ID and ANTHROPIC_IDENTITY_TOKEN_FILE for workload identity " +
  "federation. To see Parley without a credential, run: npm run demo";

/** Reads the environment. All that is wrong is added to `problems`, a line each. An empty value counts as unset. */
export function readEnvironment(env: NodeJS.Dict<string>, problems: string[]): Environment {
  const get = (name: string) => env[name]?.trim() || undefined;
  const whole = (name: string, least: number, most: number) => {
    const text = get(name);
    if (text === undefined) return undefined;
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    problems.push(`${name} must be a whole number from ${least} to ${most}, but is ${JSON.stringify(text)}`);
    return undefined;
  };
  reportTypingErrors(env, problems);
  if (get("ANTHROPIC_CUSTOM_HEADERS") !== undefined) {
    problems.push("ANTHROPIC_CUSTOM_HEADERS is not supported: it would change all requests to Claude unseen");
  }
  const port = whole("PORT", 0, 65_535) ?? 8_080;
  const adminPort = whole("ADMIN_PORT", 0, 65_535) ?? 9_090;
  const { ineffective: ineffectiveOfTelemetry, ...telemetry } = readTelemetryEnvironment(env, problems);
  if (port === adminPort && port !== 0) problems.push(`PORT and ADMIN_PORT must differ, but both are ${port}`);
  return {
    port,
    adminPort,
    configFile: get("PARLEY_CONFIG"),
    logLevel: readLogLevel(get("LOG_LEVEL"), problems),
    model: get("CLAUDE_MODEL"),
    maxTokens: whole("CLAUDE_MAX_TOKENS", 1, 1_000_000),
    timeoutSeconds: whole("CLAUDE_TIMEOUT_SEC", 1, 86_400) ?? 300,
    baseUrl: readBaseUrl(get("ANTHROPIC_BASE_URL") ?? "https://api.anthropic.com", problems),
    credential: readCredential(get, problems),
    proxy: readProxy(get, problems),
    workspaceId: get("ANTHROPIC_WORKSPACE_ID"),
    telemetry,
    ineffective: [
      ...Object.keys(INEFFECTIVE).filter((name) => ![undefined, INEFFECTIVE[name]].includes(get(name))),
      ...ineffectiveOfTelemetry,
    ],
  };
}

function readLogLevel(value: string | undefined, problems: string[]): LogLevel | undefined {
  const level = LOG_LEVELS.find((name) => name === value?.toLowerCase());
  if (value !== undefined && level === undefined) {
    problems.push(`LOG_LEVEL must be one of ${LOG_LEVELS.join(", ")}, but is ${JSON.stringify(value)}`);
  }
  return level;
}

function readBaseUrl(value: string, problems: string[]): string {
  const url = httpUrl(value);
  if (url === undefined || `${url.username}${url.password}${url.search}${url.hash}` !== "") {
    // What looks like a password is not repeated.
    const shown = url?.password ? "" : `, but is ${JSON.stringify(value)}`;
    problems.push(`ANTHROPIC_BASE_URL must be an http or https URL without user, query and fragment${shown}`);
  }
  return value;
}

function httpUrl(value: string): URL | undefined {
  const url = URL.parse(value);
  return url !== null && /^https?:$/.test(url.protocol) ? url : undefined;
}

function readCredential(get: (name: string) => string | undefined, problems: string[]): CredentialSource | undefined {
  const key = get("ANTHROPIC_API_KEY");
  const path = get("ANTHROPIC_API_KEY_FILE");
  const federation = {
    ANTHROPIC_FEDERATION_RULE_ID: get("ANTHROPIC_FEDERATION_RULE_ID"),
    ANTHROPIC_ORGANIZATION_ID: get("ANTHROPIC_ORGANIZATION_ID"),
    ANTHROPIC_IDENTITY_TOKEN_FILE: get("ANTHROPIC_IDENTITY_TOKEN_FILE"),
  };
  const federated = federation.ANTHROPIC_FEDERATION_RULE_ID !== undefined;
  const given = [
    ...(key === undefined ? [] : ["ANTHROPIC_API_KEY"]),
    ...(path === undefined ? [] : ["ANTHROPIC_API_KEY_FILE"]),
    ...(federated ? ["ANTHROPIC_FEDERATION_RULE_ID"] : []),
  ];
  if (given.length > 1) problems.push(`${given.join(" and ")} are set: keep one of them, since each is a credential`);
  if (given.length === 0) problems.push(CREDENTIAL_HELP);
  if (key !== undefined) return { kind: "apiKey", value: key };
  if (path !== undefined) return { kind: "apiKeyFile", path };
  if (!federated) return undefined;
  for (const [name, value] of Object.entries(federation)) {
    if (value === undefined) problems.push(`${name} must be set beside ANTHROPIC_FEDERATION_RULE_ID`);
  }
  return {
    kind: "federation",
    ruleId: federation.ANTHROPIC_FEDERATION_RULE_ID ?? "",
    organizationId: federation.ANTHROPIC_ORGANIZATION_ID ?? "",
    identityTokenFile: federation.ANTHROPIC_IDENTITY_TOKEN_FILE ?? "",
    serviceAccountId: get("ANTHROPIC_SERVICE_ACCOUNT_ID"),
    workspaceId: get("ANTHROPIC_WORKSPACE_ID"),
  };
}

/** Both spellings are in use. */
function readProxy(get: (name: string) => string | undefined, problems: string[]): ProxySettings | undefined {
  const either = (name: string) => get(name) ?? get(name.toLowerCase()) ?? "";
  const proxy = { httpProxy: either("HTTP_PROXY"), httpsProxy: either("HTTPS_PROXY"), noProxy: either("NO_PROXY") };
  for (const [name, value] of [
    ["HTTP_PROXY", proxy.httpProxy],
    ["HTTPS_PROXY", proxy.httpsProxy],
  ] as const) {
    // Its value may hold a password.
    if (value !== "" && httpUrl(value) === undefined) problems.push(`${name} must be an http or https URL`);
  }
  return proxy.httpProxy === "" && proxy.httpsProxy === "" ? undefined : proxy;
}

/** A name that is one or two letters away from one of ours would be a setting without effect. */
function reportTypingErrors(env: NodeJS.Dict<string>, problems: string[]): void {
  for (const name of Object.keys(env)) {
    if (NAMES.includes(name) || !/^(CLAUDE|PARLEY|ANTHROPIC)_/.test(name)) continue;
    const meant = NAMES.find((known) => distance(name, known) <= 2);
    if (meant !== undefined) problems.push(`${name} is unknown: is ${meant} meant?`);
  }
}

/** Number of letters to insert, delete or replace (Levenshtein). */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
