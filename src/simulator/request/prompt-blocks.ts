import { isObject } from "./schema/primitives.ts";

/** How long a cache entry lives after its last use. */
export type CacheTtl = "5m" | "1h";

/** A cache breakpoint: everything up to the block that holds it is to be cached. */
export interface Breakpoint {
  readonly path: string;
  readonly ttl: CacheTtl;
}

/** One unit of a prompt, in the order in which prompts are cached: tools, then system, then messages. */
export interface PromptBlock {
  readonly level: "tools" | "system" | "messages";
  /** `tools.0`, `system.1`, `messages.2.content.0` */
  readonly path: string;
  readonly value: unknown;
  /** Its breakpoints, also those of blocks inside it. */
  readonly breakpoints: readonly Breakpoint[];
}

/** The blocks of a prompt. Takes any JSON, since a script may let a request pass that was not checked. */
export function readPromptBlocks(request: unknown): PromptBlock[] {
  const { tools, system, messages } = isObject(request) ? request : {};
  const blocks: PromptBlock[] = [];
  const add = (level: PromptBlock["level"], path: string, value: unknown) => {
    const breakpoints: Breakpoint[] = [];
    collectBreakpoints(value, path, breakpoints);
    blocks.push({ level, path, value, breakpoints });
  };
  for (const [index, tool] of listOf(tools).entries()) add("tools", `tools.${index}`, tool);
  for (const [index, block] of listOf(system).entries()) add("system", `system.${index}`, block);
  for (const [index, message] of listOf(messages).entries()) {
    const content = isObject(message) ? message.content : undefined;
    const role = isObject(message) ? message.role : undefined;
    for (const [position, block] of listOf(content).entries()) {
      const value = isObject(block) ? { role, ...block } : block;
      add("messages", `messages.${index}.content.${position}`, value);
    }
  }
  return blocks;
}

/** A list as it is; text stands for one text block. */
function listOf(value: unknown): readonly unknown[] {
  if (typeof value === "string") return [{ type: "text", text: value }];
  return Array.isArray(value) ? value : [];
}

function collectBreakpoints(value: unknown, path: string, found: Breakpoint[]): void {
  if (!isObject(value)) return;
  if (Array.isArray(value.content)) {
    for (const [index, inner] of value.content.entries()) collectBreakpoints(inner, `${path}.content.${index}`, found);
  }
  if (isObject(value.cache_control)) found.push({ path, ttl: value.cache_control.ttl === "1h" ? "1h" : "5m" });
}

/** Claude's thinking and empty text cannot be the end of a cached prefix. */
export function canEndPrefix(value: unknown): boolean {
  if (!isObject(value)) return false;
  if (value.type === "thinking" || value.type === "redacted_thinking") return false;
  return value.type !== "text" || value.text !== "";
}

/**
 * Where the request's own `cache_control` puts its breakpoint: the last block that can end a prefix, unless that block
 * already has one.
 */
export function automaticBreakpoint(request: unknown, blocks: readonly PromptBlock[]): Breakpoint | undefined {
  const control = isObject(request) ? request.cache_control : undefined;
  if (!isObject(control)) return undefined;
  const last = blocks.findLast((block) => canEndPrefix(block.value));
  return last && { path: last.path, ttl: control.ttl === "1h" ? "1h" : "5m" };
}
