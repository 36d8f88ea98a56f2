import type { Attributes } from "@opentelemetry/api";
import type { ToolCall, ToolOutcome } from "../agent/tool-call.ts";
import type { Answer, Members } from "../upstream/answer.ts";
import { RawJson } from "../upstream/raw-json.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { attribute } from "./names.ts";

/** The most bytes of one text, and of all texts of an attribute together. Collectors refuse what is too large. */
const MAX_TEXT_BYTES = 8 * 1024;
const MAX_BYTES = 16 * 1024;
/** How many bytes a part counts for besides its texts. */
const PART_BYTES = 64;

/** A block of Claude's, of whatever kind. */
interface Block {
  readonly type?: unknown;
  readonly [name: string]: unknown;
}

/** What Claude is asked, in the form of the conventions. Of long histories only the end. */
export function requestContent({ system, messages }: Parameters<Upstream["streamMessage"]>[0]): Attributes {
  return whereLegible(() => {
    const room = new Room();
    const kept: object[] = [];
    for (const { role, content } of messages.toReversed()) {
      if (room.isFull) break;
      kept.unshift({ role, parts: partsOf(content, room) });
    }
    return {
      [attribute.inputMessages]: JSON.stringify(kept),
      ...(system !== undefined && { [attribute.systemInstructions]: JSON.stringify(partsOf(system, new Room())) }),
    };
  });
}

/** What Claude has answered, also when it is not complete. Of an answer that is not kept nothing is known. */
export function answerContent(answer: Answer): Attributes {
  return whereLegible(() => {
    const { blocks } = answer;
    if (blocks.length === 0) return {};
    const parts = partsOf(blocks.map(blockOf), new Room());
    return { [attribute.outputMessages]: JSON.stringify([{ role: "assistant", parts }]) };
  });
}

/** What a tool was given. */
export function callContent({ inputJson }: ToolCall): Attributes {
  return { [attribute.toolArguments]: new Room().take(inputJson) };
}

/** What it returned. */
export function resultContent({ result: { content } }: ToolOutcome): Attributes {
  return whereLegible(() => {
    const room = new Room();
    const told = typeof content === "string" ? room.take(content) : JSON.stringify(partsOf(content, room));
    return { [attribute.toolResult]: told };
  });
}

/** What does not have the form that it should is left out: that it cannot be told must not harm what it is about. */
function whereLegible(describe: () => Attributes): Attributes {
  try {
    return describe();
  } catch {
    return {};
  }
}

/** The input of a tool call may be cut short, and then is no JSON. */
function blockOf(members: Members): Block {
  return Object.fromEntries(
    Array.from(members, ([name, text]) => [name, name === "input" ? new RawJson(text) : JSON.parse(text)]),
  );
}

function partsOf(content: unknown, room: Room): readonly object[] {
  const value = content instanceof RawJson ? (JSON.parse(content.text) as unknown) : content;
  if (typeof value === "string") return [partOf({ type: "text", text: value }, room)];
  const parts: object[] = [];
  for (const block of Array.isArray(value) ? value : []) {
    if (room.isFull) break;
    parts.push(partOf(block, room));
  }
  return parts;
}

function partOf(value: unknown, room: Room): object {
  const block = Object(value instanceof RawJson ? JSON.parse(value.text) : value) as Block;
  room.takePart();
  switch (block.type) {
    case "text":
      return { type: "text", content: room.take(block.text) };
    case "thinking":
      return { type: "reasoning", content: room.take(block.thinking) };
    case "tool_use":
      return {
        type: "tool_call",
        id: room.take(block.id),
        name: room.take(block.name),
        arguments: room.take(block.input instanceof RawJson ? block.input.text : JSON.stringify(block.input)),
      };
    case "tool_result":
      return {
        type: "tool_call_response",
        id: room.take(block.tool_use_id),
        response: partsOf(block.content, room),
      };
    default:
      // Images and documents are too large for a span.
      return { type: room.take(block.type) };
  }
}

/** How much more an attribute may hold. */
class Room {
  #left = MAX_BYTES;

  get isFull(): boolean {
    return this.#left <= 0;
  }

  takePart(): void {
    this.#left -= PART_BYTES;
  }

  /** As much of a text as there is room for. Of anything else nothing. */
  take(value: unknown): string {
    const text = typeof value === "string" ? value : "";
    const most = Math.max(0, Math.min(MAX_TEXT_BYTES, this.#left));
    const bytes = Buffer.from(text.slice(0, most));
    const taken = bytes.subarray(0, most);
    this.#left -= taken.length;
    // A copy: otherwise it would hold on to the whole text until it is sent. Halves of characters are replaced.
    const copy = taken.toString();
    return text.length <= most && bytes.length <= most ? copy : `${copy}…`;
  }
}
