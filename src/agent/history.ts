import type {
  ContentBlockParam,
  MessageParam,
  TextBlockParam,
  ToolResultBlockParam,
} from "@anthropic-ai/sdk/resources/messages";
import type { Answer, Members } from "../upstream/answer.ts";
import { objectText, parseValid, RawJson } from "../upstream/raw-json.ts";
import type { ToolCall } from "./tool-call.ts";

/** Claude's answer as a message to send back: byte for byte, but for texts that are blank, which Claude refuses. */
export function assistantMessage(answer: Answer): MessageParam {
  return { role: "assistant", content: sendable(answer.blocks).map(rawBlock) };
}

/** The tool calls of an answer, in their order. */
export function toolCalls(answer: Answer): ToolCall[] {
  return answer.blocks
    .filter((block) => textOf(block, "type") === "tool_use")
    .map((block) => ({
      id: textOf(block, "id"),
      name: textOf(block, "name"),
      inputJson: block.get("input") ?? "{}",
      toolset: block.has("toolset_name") ? textOf(block, "toolset_name") || undefined : undefined,
    }));
}

/** The results of all calls of the message before, in the order of the calls. */
export function resultsMessage(results: readonly ToolResultBlockParam[]): MessageParam {
  return { role: "user", content: [...results] };
}

/**
 * A history that ends with a word to Claude, in the message that it is to answer. What a paused turn has left open is
 * taken off its end: only Claude could go on with it, and not after another message. Where no word can be put in, the
 * history stays as it is.
 */
export function withNotice(messages: readonly MessageParam[], notice: string): MessageParam[] {
  const history = messages.slice(0, -1);
  const last = messages.at(-1);
  if (last === undefined) throw new TypeError("a history without messages");
  // Claude takes no message of the user after one of the system, but one of the system after any of the user.
  if (last.role === "system") return [...withNotice(history, notice), last];
  const content: ContentBlockParam[] =
    typeof last.content === "string" ? [{ type: "text", text: last.content }] : [...last.content];
  const text: TextBlockParam = { type: "text", text: notice };
  if (last.role === "user") {
    // A server tool that is still at work goes on with the next answer, which only results may come before.
    if (hasOpenServerCall(history.at(-1))) return [...messages];
    return [...history, { role: "user", content: [...content, text] }];
  }
  while (isOpenEnd(content.at(-1))) content.pop();
  if (content.length === 0) return withNotice(history, notice);
  return [...history, { role: "assistant", content }, { role: "user", content: [text] }];
}

function isOpenEnd(block: unknown): boolean {
  return /^(?:server_tool_use|thinking|redacted_thinking)$/.test(typeOf(block));
}

/** Whether an answer calls one of Claude's own tools, and has not its result. */
function hasOpenServerCall(message: MessageParam | undefined): boolean {
  if (message?.role !== "assistant" || typeof message.content === "string") return false;
  const blocks = message.content.map(plain);
  const answered = new Set(blocks.map(({ tool_use_id: id }) => id));
  return blocks.some(({ type, id }) => type === "server_tool_use" && !answered.has(id));
}

function typeOf(block: unknown): string {
  return plain(block).type ?? "";
}

function plain(block: unknown): { readonly type?: string; readonly id?: string; readonly tool_use_id?: string } {
  return (block instanceof RawJson ? JSON.parse(block.text) : (block ?? {})) as object;
}

function sendable(blocks: readonly Members[]): readonly Members[] {
  return blocks.filter((block) => textOf(block, "type") !== "text" || textOf(block, "text").trim() !== "");
}

/** Arguments that are no JSON would make the whole request none. */
function rawBlock(block: Members) {
  const input = block.get("input");
  const valid = input === undefined || isObject(input) ? block : new Map(block).set("input", "{}");
  return new RawJson(objectText(valid)) as never;
}

/** Whether a text is the JSON text of an object. */
export function isObject(json: string): boolean {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

function textOf(block: Members, name: string): string {
  const value = parseValid(block.get(name) ?? '""');
  return typeof value === "string" ? value : "";
}
