import { accessSync, constants, readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { LineCounter, parseDocument } from "yaml";
import type { z } from "zod";
import type { Credential } from "./credential.ts";
import { type CredentialSource, type Environment, readEnvironment } from "./environment.ts";
import { type FileConfig, fileSchema } from "./schema.ts";
import { secretFile, secretValue } from "./secret.ts";
import type { TelemetrySettings } from "./telemetry-environment.ts";
import { readTls, type TlsFiles } from "./tls-files.ts";

/** All that can be set, in the form that the service uses. Durations are in milliseconds, sizes in bytes. */
export interface Config extends Omit<FileConfig, "logging"> {
  readonly telemetry: FileConfig["telemetry"] & TelemetrySettings;
  readonly port: number;
  readonly adminPort: number;
  readonly logLevel: FileConfig["logging"]["level"];
  readonly baseUrl: string;
  readonly credential: Credential;
  readonly proxy: Environment["proxy"];
  /** Deadline of a call that has none. */
  readonly defaultTimeout: number;
  /** Names that are set but have no effect in this version. */
  readonly ineffective: readonly string[];
}

/** The configuration cannot be used. Tells all that is wrong with it, a line each. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/**
 * Reads the configuration from the environment, and from the file that `PARLEY_CONFIG` names.
 *
 * @throws {ConfigError} with all problems at once.
 */
export function loadConfig(env: NodeJS.Dict<string>): Config {
  const problems: string[] = [];
  const environment = readEnvironment(env, problems);
  const file = readFile(environment.configFile, problems);
  const credential = credentialOf(environment.credential, problems);
  for (const [name, path] of Object.entries(environment.telemetry.files)) checkReadable(path, name, problems);
  if (file?.server.tls !== undefined) checkTls(file.server.tls, problems);
  if (file !== undefined) checkToolFiles(file.tools, problems);
  if (problems.length > 0 || file === undefined || credential === undefined) throw new ConfigError(problems);
  const { claude, logging, ...rest } = file;
  return {
    ...rest,
    claude: {
      ...claude,
      model: environment.model ?? claude.model,
      maxTokens: environment.maxTokens ?? claude.maxTokens,
      // Federation has it in the exchange of the token.
      workspaceId: (credential.kind === "apiKey" ? environment.workspaceId : undefined) ?? claude.workspaceId,
    },
    port: environment.port,
    adminPort: environment.adminPort,
    logLevel: environment.logLevel ?? logging.level,
    baseUrl: environment.baseUrl,
    credential,
    proxy: environment.proxy,
    telemetry: { ...file.telemetry, ...environment.telemetry.settings },
    defaultTimeout: environment.timeoutSeconds * 1_000,
    ineffective: environment.ineffective,
  };
}

function readFile(path: string | undefined, problems: string[]): FileConfig | undefined {
  if (path === undefined) return fileSchema.parse({});
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    problems.push(`PARLEY_CONFIG: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`);
    return undefined;
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number) => `${path}:${lines.linePos(offset).line}`;
  if (document.errors.length > 0) {
    for (const error of document.errors) problems.push(`${at(error.pos[0])}: ${error.message}`);
    return undefined;
  }
  const result = fileSchema.safeParse(document.toJS() ?? {});
  if (result.success) return result.data;
  const found = result.error.issues.flatMap(describe).map(([name, problem]) => {
    const node = document.getIn(name, true) ?? document.getIn(name.slice(0, -1), true);
    const offset = (node as { range?: [number, number, number] } | undefined)?.range?.[0] ?? 0;
    return { offset, text: `${at(offset)}: ${name.join(".") || "the file"} ${problem}` };
  });
  found.sort((one, other) => one.offset - other.offset);
  problems.push(...found.map(({ text }) => text));
  return undefined;
}

/** The names that an issue is about, with what is wrong. */
function describe(issue: z.core.$ZodIssue): [path: PropertyKey[], problem: string][] {
  if (issue.code !== "unrecognized_keys") return [[[...issue.path], issue.message]];
  return issue.keys.map((key) => [[...issue.path, key], "is unknown"]);
}

function credentialOf(source: CredentialSource | undefined, problems: string[]): Credential | undefined {
  switch (source?.kind) {
    case "apiKey":
      return { kind: "apiKey", apiKey: secretValue(source.value) };
    case "apiKeyFile":
      checkReadable(source.path, "ANTHROPIC_API_KEY_FILE", problems);
      return { kind: "apiKey", apiKey: secretFile(source.path) };
    case "federation":
      checkReadable(source.identityTokenFile, "ANTHROPIC_IDENTITY_TOKEN_FILE", problems);
      return source;
    default:
      return undefined;
  }
}

function checkTls(files: TlsFiles, problems: string[]): void {
  const before = problems.length;
  for (const [name, path] of Object.entries(files)) checkReadable(path, `server.tls.${name}`, problems);
  if (problems.length > before) return;
  try {
    createSecureContext(readTls(files));
  } catch (error) {
    problems.push(`server.tls: the files cannot be used: ${(error as Error).message}`);
  }
}

function checkToolFiles({ grpc }: FileConfig["tools"], problems: string[]): void {
  for (const [index, { descriptors, tls }] of grpc.entries()) {
    checkReadable(descriptors, `tools.grpc.${index}.descriptors`, problems);
    for (const name of ["caFile", "certFile", "keyFile"] as const) {
      checkReadable(tls?.[name], `tools.grpc.${index}.tls.${name}`, problems);
    }
  }
}

function checkReadable(path: string | undefined, name: string, problems: string[]): void {
  if (path === undefined || path === "") return;
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    // A key in the place of the path of its file.
    const shown = path.includes("-----BEGIN") ? "what is set" : path;
    problems.push(`${name}: ${shown} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}
