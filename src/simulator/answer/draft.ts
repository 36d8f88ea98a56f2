import type {
  ContentBlock,
  RefusalStopDetails,
  ServerToolUsage,
  ServerToolUseBlock,
  StopReason,
  TextBlock,
  TextCitation,
  ToolUseBlock,
} from "@anthropic-ai/sdk/resources/messages/messages.js";
import { signThinking } from "../signatures.ts";
import { countTokens, firstTokens } from "../usage/tokens.ts";

/** A block of an answer, with what it cost to write. */
export interface OutputBlock {
  readonly block: ContentBlock;
  readonly tokens: number;
  /** The part of `tokens` that is thinking. */
  readonly thinkingTokens: number;
  /** The input of a tool call as it is streamed; incomplete JSON when the answer was cut off in it. */
  readonly inputJson?: string;
  /** The same block, cut off after so many tokens. */
  cut(tokens: number): OutputBlock;
}

/** Why an answer ended. */
export interface Stop {
  readonly reason: StopReason;
  readonly sequence: string | null;
  readonly details: RefusalStopDetails | null;
}

/** An answer before it has an identifier and a usage. */
export interface Draft {
  readonly outputs: readonly OutputBlock[];
  readonly stop: Stop;
  readonly serverTools: ServerToolUsage | null;
}

/** An ending with nothing to add to its reason. */
export function stopFor(reason: StopReason, sequence: string | null = null): Stop {
  return { reason, sequence, details: null };
}

/** Text, with the citations that support it. */
export function textOutput(text: string, citations: TextCitation[] | null = null): OutputBlock & { block: TextBlock } {
  return {
    block: { type: "text", text, citations },
    tokens: countTokens(text),
    thinkingTokens: 0,
    cut: (tokens) => textOutput(firstTokens(text, tokens), citations),
  };
}

/** Thinking; with `omitted` its text is not returned, but it is signed and paid for all the same. */
export function thinkingOutput(text: string, display: "summarized" | "omitted"): OutputBlock {
  const tokens = countTokens(text);
  const thinking = display === "omitted" ? "" : text;
  return {
    block: { type: "thinking", thinking, signature: signThinking(text, display) },
    tokens,
    thinkingTokens: tokens,
    cut: (limit) => thinkingOutput(firstTokens(text, limit), display),
  };
}

/** A call of a tool, the caller's own or one of Anthropic's. */
export function toolOutput(block: ToolUseBlock | ServerToolUseBlock, inputJson?: string): OutputBlock {
  const json = inputJson ?? JSON.stringify(block.input) ?? "";
  return {
    block,
    tokens: countTokens(json),
    thinkingTokens: 0,
    inputJson: json,
    cut: (tokens) => toolOutput({ ...block, input: {} }, firstTokens(json, tokens)),
  };
}

/** Any other block, which is sent whole and costs no output tokens. */
export function wholeOutput(block: ContentBlock): OutputBlock {
  const output: OutputBlock = { block, tokens: 0, thinkingTokens: 0, cut: () => output };
  return output;
}
