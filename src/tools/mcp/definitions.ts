import type { McpServerConfig } from "../../config/tools-schema.ts";
import type { SideEffect, Tool } from "../tool.ts";

/** What a tool of a server is, and what Claude is told of it. */
export type McpToolDefinition = Omit<Tool, "call"> & {
  /** The server's own name of it. */
  readonly remoteName: string;
  /** The schema of its arguments, as the server sent it. */
  readonly inputSchema: { readonly type: "object"; readonly [keyword: string]: unknown };
};

/** A tool as a server lists it. Nothing of it has been checked. */
interface ListedTool {
  readonly name?: unknown;
  readonly title?: unknown;
  readonly description?: unknown;
  readonly inputSchema?: unknown;
  readonly annotations?: unknown;
  readonly execution?: unknown;
}

const MAX_NAME_LENGTH = 128;

/** What Claude refuses at the top level of a schema. One tool with it would fail every run that may use that tool. */
const REFUSED_KEYWORDS = ["oneOf", "allOf", "anyOf"];

/**
 * The tools that Claude may use, of those that a server lists.
 *
 * @param problem is told what is left out, and what the configuration names but the server does not have.
 */
export function toDefinitions(
  listed: readonly unknown[],
  config: McpServerConfig,
  problem: (message: string) => void,
): McpToolDefinition[] {
  const definitions = new Map<string, McpToolDefinition>();
  const names = new Set<unknown>();
  for (const entry of listed) {
    const tool = (entry ?? {}) as ListedTool;
    names.add(tool.name);
    if (config.tools !== undefined && !config.tools.includes(tool.name as string)) continue;
    const definition = toDefinition(tool, config);
    if (typeof definition === "string") {
      problem(`the tool ${JSON.stringify(tool.name)} is left out: ${definition}`);
    } else if (definitions.has(definition.name)) {
      problem(`the tool ${JSON.stringify(tool.name)} is left out: another one is called ${definition.name} as well`);
    } else {
      definitions.set(definition.name, definition);
    }
  }
  for (const name of new Set([...(config.tools ?? []), ...config.approval])) {
    if (name !== "*" && !names.has(name))
      problem(`it has no tool ${JSON.stringify(name)}, which the configuration names`);
  }
  return [...definitions.values()];
}

/** Returns what is wrong with a tool that Claude cannot use. */
function toDefinition(tool: ListedTool, config: McpServerConfig): McpToolDefinition | string {
  const { name, title, description, inputSchema, execution } = tool;
  if (typeof name !== "string" || name === "") return "it has no name";
  if (!isObject(inputSchema) || inputSchema.type !== "object") return "its input schema is not one of an object";
  const refused = REFUSED_KEYWORDS.find((keyword) => keyword in inputSchema);
  if (refused !== undefined) return `its input schema has ${refused} at the top level, which Claude refuses`;
  if (isObject(execution) && execution.taskSupport === "required") return "it can only be called as a task";
  return {
    name: toolName(config.name, name),
    remoteName: name,
    description: [description, title].find((text) => typeof text === "string") ?? "",
    inputSchema: inputSchema as McpToolDefinition["inputSchema"],
    inputSchemaJson: JSON.stringify(inputSchema),
    sideEffect: sideEffect(tool.annotations),
    requiresApproval: config.approval.includes("*") || config.approval.includes(name),
    timeoutMs: config.timeout,
    maxConcurrency: config.concurrency,
  };
}

/** Claude's name of a tool. */
function toolName(server: string, name: string): string {
  return `${server}__${name.replaceAll(/[^a-zA-Z0-9_-]/g, "_")}`.slice(0, MAX_NAME_LENGTH);
}

/**
 * By the hints of the server, which are believed: who configures a server trusts it. Without any of them, the defaults of
 * MCP would call a tool destructive; here that is `unknown`, which is treated as the same.
 */
function sideEffect(annotations: unknown): SideEffect {
  if (!isObject(annotations)) return "unknown";
  if (annotations.readOnlyHint === true) return "none";
  if (annotations.idempotentHint === true) return "idempotent";
  const tells = annotations.readOnlyHint === false || typeof annotations.destructiveHint === "boolean";
  return tells ? "mutating" : "unknown";
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
