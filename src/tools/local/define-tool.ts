import { Code } from "@connectrpc/connect";
import { z } from "zod";
import { type SideEffect, type Tool, type ToolContext, ToolError, type ToolResult } from "../tool.ts";

/** A tool in this process. */
export interface LocalTool<S extends z.ZodObject> {
  /** What Claude calls it: 1 to 128 letters, digits, `_` and `-`. */
  readonly name: string;
  /** What Claude is told of it: what it does, when to use it, what it returns. */
  readonly description: string;
  /** Its arguments. The descriptions of the members are for Claude, too. */
  readonly input: S;
  readonly sideEffect: SideEffect;
  /** How long a call may take, in milliseconds. Unset: 10 seconds. */
  readonly timeoutMs?: number;
  /** The most calls at a time. Unset: 16. */
  readonly maxConcurrency?: number;
  /** Whether a person must approve each call. Unset: no. */
  readonly requiresApproval?: boolean;

  /**
   * Does the work.
   *
   * @returns a text for Claude, or a result.
   * @throws {ToolError} whose message Claude is told.
   */
  run(input: z.output<S>, context: ToolContext): string | ToolResult | Promise<string | ToolResult>;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_MAX_CONCURRENCY = 16;

/** Makes a tool whose arguments are checked before it runs: what does not fit is told to Claude by its path. */
export function defineTool<S extends z.ZodObject>(definition: LocalTool<S>): Tool {
  const { name, description, input, sideEffect, requiresApproval = false } = definition;
  return {
    name,
    description,
    // What Claude writes, not what becomes of it: members with defaults may be left out.
    inputSchemaJson: JSON.stringify(z.toJSONSchema(input, { io: "input" })),
    sideEffect,
    requiresApproval,
    timeoutMs: definition.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    maxConcurrency: definition.maxConcurrency ?? DEFAULT_MAX_CONCURRENCY,
    async call(inputJson, context) {
      const result = await definition.run(parse(input, inputJson), context);
      return typeof result === "string" ? { content: result } : result;
    },
  };
}

function parse<S extends z.ZodObject>(schema: S, inputJson: string): z.output<S> {
  const { data, error } = schema.safeParse(parseJson(inputJson));
  if (error === undefined) return data as z.output<S>;
  const problems = error.issues.map(({ path, message }) =>
    path.length === 0 ? message : `${pathText(path)}: ${message}`,
  );
  throw new ToolError(Code.InvalidArgument, problems.join("; "));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ToolError(Code.InvalidArgument, "the arguments are no JSON object", { cause });
  }
}

/** A path as JavaScript has it, such as `items[0].name`. */
function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    return text === "" ? String(key) : `${text}.${String(key)}`;
  }, "");
}
