import type {
  CacheControlEphemeral,
  ContentBlockParam,
  MessageCreateParamsStreaming,
  MessageParam,
} from "@anthropic-ai/sdk/resources/messages";
import { membersOfValid, RawJson, restoreRawJson } from "../upstream/raw-json.ts";

export interface CacheBreakpointOptions {
  /** Whether more turns will follow that begin with the same messages. */
  readonly loop: boolean;
  /** Outside of loops: how many bytes tools and system prompt must have together. */
  readonly minPrefixBytes: number;
}

/** A breakpoint with Claude's default lifetime, 5 minutes. */
const EPHEMERAL: CacheControlEphemeral = { type: "ephemeral" };
const EPHEMERAL_MEMBER = `"cache_control":${JSON.stringify(EPHEMERAL)}`;

/**
 * Sets prompt-cache breakpoints: after the tools, after the system prompt, and in a loop after the last message and after
 * the one that the request before ended with, so that Claude finds what it has cached then, however much has been added.
 * That makes four, which is all that Claude allows.
 *
 * Apart from breakpoints the tools, the system prompt and the messages of one turn of a loop are the beginning of those of
 * the next, byte for byte. For that all texts that stand for a block become one, in the system prompt, and in a loop in
 * all messages: one that did only while it has a breakpoint would change later.
 *
 * A request in which anything has a breakpoint already is left as it is, and so is one whose tools or system prompt are
 * exact JSON as a whole.
 */
export function withCacheBreakpoints(
  params: MessageCreateParamsStreaming,
  { loop, minPrefixBytes }: CacheBreakpointOptions,
): MessageCreateParamsStreaming {
  const { tools = [], system = "", messages } = params;
  if (isRaw(tools) || isRaw(system)) return params;
  if (!loop && sizeOf(tools) + sizeOf(system) < minPrefixBytes) return params;
  if (memberOf(params, "cache_control") != null || [tools, system, messages].some(holdsBreakpoint)) return params;
  return {
    ...params,
    ...(tools.length > 0 && { tools: markLast(tools, isLoaded) ?? tools }),
    ...(system.length > 0 && { system: markedSystem(system) }),
    ...(loop && { messages: markTurns(messages.map(inBlocks)) }),
  };
}

function markedSystem(system: NonNullable<MessageCreateParamsStreaming["system"]>) {
  const blocks = typeof system === "string" ? [{ type: "text" as const, text: system }] : system;
  return markLast(blocks, canEndPrefix) ?? blocks;
}

/** Claude takes an empty text in the place of blocks, but none as a block. */
function inBlocks(message: MessageParam): MessageParam {
  if (typeof message.content !== "string" || message.content === "") return message;
  return { ...message, content: [{ type: "text", text: message.content }] };
}

/** Marks the end of this request, and of the one before, which Claude has answered with the latest of its messages. */
function markTurns(messages: readonly MessageParam[]): MessageParam[] {
  const marked = [...messages];
  const end = markBefore(marked, marked.length);
  const answer = marked.findLastIndex(({ role }) => role === "assistant");
  markBefore(marked, Math.min(answer, end));
  return marked;
}

/** Marks the last message before an index that can be marked. Returns its index, -1 if there is none. */
function markBefore(messages: MessageParam[], end: number): number {
  for (let index = end - 1; index >= 0; index--) {
    const message = messages[index] as MessageParam;
    if (typeof message.content === "string") continue;
    const content = markLast<ContentBlockParam>(message.content, canEndPrefix);
    if (content === undefined) continue;
    messages[index] = { ...message, content } as MessageParam;
    return index;
  }
  return -1;
}

/** Marks the last of the parts that can be marked. Returns undefined when there is none. */
function markLast<T extends object>(parts: readonly T[], canBeMarked: (part: T) => boolean): T[] | undefined {
  const index = parts.findLastIndex((part) => memberOf(part, "cache_control") === undefined && canBeMarked(part));
  return index === -1 ? undefined : parts.with(index, marked(parts[index] as T));
}

function marked<T extends object>(part: T): T {
  if (!isRaw(part)) return { ...part, cache_control: EPHEMERAL };
  const end = part.text.lastIndexOf("}");
  const start = part.text.slice(0, end);
  const comma = /\{\s*$/.test(start) ? "" : ",";
  return new RawJson(`${start}${comma}${EPHEMERAL_MEMBER}${part.text.slice(end)}`) as unknown as T;
}

/** Whether a tool is in the prompt from the start. Claude takes no breakpoint on one that is not. */
function isLoaded(tool: object): boolean {
  if (memberOf(tool, "defer_loading") === true) return false;
  const ofToolset = [memberOf(tool, "default_config"), ...Object.values(memberOf(tool, "configs") ?? {})];
  return !ofToolset.some((config) => (config as { defer_loading?: unknown } | null)?.defer_loading === true);
}

/** Kinds of content that Claude takes a breakpoint on. Thinking and what has no `cache_control` in its API are not here. */
const CACHEABLE = /^(?:text|image|document|search_result|container_upload|compaction|(?:.+_)?tool_(?:use|result))$/;

function canEndPrefix(block: object): boolean {
  return CACHEABLE.test(String(memberOf(block, "type"))) && memberOf(block, "text") !== "";
}

/** Whether JSON text may have a member `cache_control`. A name may be written with escapes. */
const MENTIONS = /cache_control|\\u/;

/** Whether a part of a prompt has a breakpoint, or a block inside it. What is in the arguments of a call is none. */
function holdsBreakpoint(part: unknown): boolean {
  if (isRaw(part)) return MENTIONS.test(part.text) && holdsBreakpoint(JSON.parse(part.text));
  if (Array.isArray(part)) return part.some(holdsBreakpoint);
  if (typeof part !== "object" || part === null) return false;
  const { content, source } = part as { readonly content?: unknown; readonly source?: unknown };
  return memberOf(part, "cache_control") != null || holdsBreakpoint(content) || holdsBreakpoint(source);
}

/** The value of a member of an object, any part of which may be exact JSON. */
function memberOf(part: object, name: string): unknown {
  if (isRaw(part)) {
    const text = membersOfValid(part.text).get(name);
    return text === undefined ? undefined : JSON.parse(text);
  }
  const value = (part as Record<string, unknown>)[name];
  return isRaw(value) ? JSON.parse(value.text) : value;
}

function isRaw(value: unknown): value is RawJson {
  return value instanceof RawJson;
}

/** Bytes of a text, or of the JSON text of parts. */
function sizeOf(parts: string | readonly object[]): number {
  if (parts.length === 0) return 0;
  return Buffer.byteLength(typeof parts === "string" ? parts : restoreRawJson(JSON.stringify(parts)));
}
