import type {
  Container,
  ContentBlock,
  Diagnostics,
  Message,
  RawMessageDeltaEvent,
  RawMessageStartEvent,
} from "@anthropic-ai/sdk/resources/messages/messages.js";
import { splitTokens } from "../usage/tokens.ts";
import { deltaUsage, startUsage } from "../usage/usage.ts";
import type { Part } from "./answer.ts";
import type { Draft, OutputBlock } from "./draft.ts";
import { encodeEvent, PING } from "./sse.ts";

/** A message and the blocks it was made of, which know more than the message shows. */
export interface WrittenMessage {
  readonly message: Message;
  readonly outputs: readonly OutputBlock[];
}

/** What a message has besides its draft. */
export type MessageFrame = Pick<Message, "id" | "model" | "usage"> & {
  readonly container: Container | null;
  readonly diagnostics: Diagnostics | null;
};

/** The message that a client which does not stream gets. */
export function createMessage({ outputs, stop }: Draft, frame: MessageFrame): WrittenMessage {
  const message: Message = {
    id: frame.id,
    type: "message",
    role: "assistant",
    model: frame.model,
    content: outputs.map((output) => output.block),
    stop_reason: stop.reason,
    stop_sequence: stop.sequence,
    stop_details: stop.details,
    container: frame.container,
    diagnostics: frame.diagnostics,
    usage: frame.usage,
  };
  return { message, outputs };
}

/** The same message as a stream of events, in Claude's order. */
export function* messageParts({ message, outputs }: WrittenMessage): Generator<Part> {
  const start: RawMessageStartEvent = {
    type: "message_start",
    message: {
      ...message,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      stop_details: null,
      usage: startUsage(message.usage),
    },
  };
  yield event({ ...start });
  yield { data: PING, pace: "none" };
  for (const [index, output] of outputs.entries()) yield* blockParts(index, output, index === 0 ? "first" : "none");
  const end: RawMessageDeltaEvent = {
    type: "message_delta",
    delta: {
      stop_reason: message.stop_reason,
      stop_sequence: message.stop_sequence,
      stop_details: message.stop_details,
      container: message.container,
    },
    usage: deltaUsage(message.usage),
  };
  yield event({ ...end }, outputs.length === 0 ? "first" : "none");
  yield event({ type: "message_stop" });
}

function event(data: Event, pace: Part["pace"] = "none"): Part {
  return { data: encodeEvent(data.type, JSON.stringify(data)), pace };
}

/** Events other than text pieces; scripted blocks may be of kinds that the SDK does not know, so only `type` is fixed. */
interface Event {
  readonly type: string;
  readonly [member: string]: unknown;
}

function* blockParts(index: number, output: OutputBlock, pace: Part["pace"]): Generator<Part> {
  yield event({ type: "content_block_start", index, content_block: opening(output.block) }, pace);
  yield* deltaParts(index, output);
  yield event({ type: "content_block_stop", index });
}

/** A block as it is when it starts: what deltas will fill in is empty. */
function opening(block: ContentBlock): ContentBlock {
  switch (block.type) {
    case "text":
      return { ...block, text: "", citations: block.citations && [] };
    case "thinking":
      return { ...block, thinking: "", signature: "" };
    case "tool_use":
    case "server_tool_use":
      return { ...block, input: {} };
    default:
      return block;
  }
}

function* deltaParts(index: number, { block, inputJson }: OutputBlock): Generator<Part> {
  switch (block.type) {
    case "text":
      yield* pieces(index, "text_delta", "text", block.text);
      for (const citation of block.citations ?? []) yield delta(index, { type: "citations_delta", citation });
      break;
    case "thinking":
      yield* pieces(index, "thinking_delta", "thinking", block.thinking);
      yield delta(index, { type: "signature_delta", signature: block.signature });
      break;
    case "tool_use":
    case "server_tool_use":
      yield* inputParts(index, inputJson ?? "", "toolset_name" in block && block.toolset_name != null);
      break;
  }
}

/** The input of a call: first nothing, then the JSON cut anywhere. A toolset member's comes in one piece. */
function* inputParts(index: number, json: string, whole: boolean): Generator<Part> {
  yield delta(index, { type: "input_json_delta", partial_json: "" });
  if (whole) yield delta(index, { type: "input_json_delta", partial_json: json }, "token");
  else yield* pieces(index, "input_json_delta", "partial_json", json);
}

function delta(index: number, body: Event, pace: Part["pace"] = "none"): Part {
  return event({ type: "content_block_delta", index, delta: body }, pace);
}

/** One delta a token. The frame around the token is made once, as answers can have hundreds of thousands. */
function* pieces(index: number, type: string, member: string, text: string): Generator<Part> {
  const head = `event: content_block_delta\ndata: {"type":"content_block_delta","index":${index},"delta":{"type":"${type}","${member}":`;
  for (const token of splitTokens(text)) yield { data: `${head}${JSON.stringify(token)}}}\n\n`, pace: "token" };
}

/** Tokens that all outputs of a draft cost, and how many of them were thinking. */
export function countOutput(outputs: readonly OutputBlock[]): { tokens: number; thinkingTokens: number } {
  return {
    tokens: outputs.reduce((sum, output) => sum + output.tokens, 0),
    thinkingTokens: outputs.reduce((sum, output) => sum + output.thinkingTokens, 0),
  };
}
