import type { Attributes } from "@opentelemetry/api";
import type { ToolCall, ToolOutcome } from "../agent/tool-call.ts";
import type { Answer } from "../upstream/answer.ts";
import { restoreRawJson } from "../upstream/raw-json.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { attribute } from "./names.ts";

/** The most characters of one text, and of all messages of a request together: collectors refuse spans that are too large. */
const MAX_TEXT_LENGTH = 16 * 1024;
const MAX_MESSAGES_LENGTH = 64 * 1024;

/** A block of Claude's, of whatever kind. */
interface Block {
  readonly type?: string;
  readonly [name: string]: unknown;
}

/** What Claude is asked, in the form of the conventions. Of long histories only the end. */
export function requestContent(params: Parameters<Upstream["streamMessage"]>[0]): Attributes {
  const { system, messages } = plain({ system: params.system, messages: params.messages }) as {
    readonly system?: unknown;
    readonly messages: readonly { readonly role: string; readonly content: unknown }[];
  };
  const kept: string[] = [];
  let length = 0;
  for (const { role, content } of messages.toReversed()) {
    const text = JSON.stringify({ role, parts: partsOf(content) });
    length += text.length;
    if (length > MAX_MESSAGES_LENGTH && kept.length > 0) break;
    kept.unshift(text);
  }
  return {
    [attribute.inputMessages]: `[${kept.join(",")}]`,
    ...(system !== undefined && { [attribute.systemInstructions]: JSON.stringify(partsOf(system)) }),
  };
}

/** What Claude has answered, also when it is not complete. */
export function answerContent(answer: Answer): Attributes {
  const parts = answer.blocks.map((block) => {
    const text = `{${[...block].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
    return partOf(parsed(text) as Block);
  });
  return { [attribute.outputMessages]: JSON.stringify([{ role: "assistant", parts }]) };
}

/** What a tool was given. */
export function callContent({ inputJson }: ToolCall): Attributes {
  return { [attribute.toolArguments]: cut(inputJson) };
}

/** What it returned. */
export function resultContent({ result }: ToolOutcome): Attributes {
  const { content } = result;
  return {
    [attribute.toolResult]: typeof content === "string" ? cut(content) : JSON.stringify(partsOf(plain(content))),
  };
}

function partsOf(content: unknown): readonly object[] {
  if (typeof content === "string") return [{ type: "text", content: cut(content) }];
  return Array.isArray(content) ? content.map((block: Block) => partOf(block)) : [];
}

function partOf(block: Block): object {
  switch (block.type) {
    case "text":
      return { type: "text", content: cut(block.text) };
    case "thinking":
      return { type: "reasoning", content: cut(block.thinking) };
    case "tool_use":
      return { type: "tool_call", id: block.id, name: block.name, arguments: cut(JSON.stringify(block.input)) };
    case "tool_result":
      return { type: "tool_call_response", id: block.tool_use_id, response: cut(JSON.stringify(block.content)) };
    default:
      // Images and documents are too large for a span.
      return { type: block.type };
  }
}

/** A value without the parts that are carried as text. */
function plain(value: unknown): unknown {
  return parsed(restoreRawJson(JSON.stringify(value) ?? "null"));
}

/** The input of a tool call that was cut is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return { type: "incomplete" };
  }
}

function cut(value: unknown): string {
  const text = typeof value === "string" ? value : "";
  return text.length <= MAX_TEXT_LENGTH ? text : `${text.slice(0, MAX_TEXT_LENGTH).toWellFormed()}…`;
}
