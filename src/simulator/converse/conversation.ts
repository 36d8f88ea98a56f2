import type { ServerToolUseBlockParam, ToolResultBlockParam } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { type PromptRequest, readTurns, type Turn } from "../request/request.ts";
import { endsInServerTool } from "../request/rules/messages.ts";
import { firstTokens } from "../usage/tokens.ts";

/** The result of a call that the caller ran. */
export interface AnsweredCall {
  readonly name: string;
  readonly text: string;
  readonly failed: boolean;
}

/** What there is to answer. */
export interface Conversation {
  readonly turns: readonly Turn[];
  /** The text of the last user turn. */
  readonly text: string;
  /** The results it carries. */
  readonly results: readonly AnsweredCall[];
  /** Whether a paused turn was sent back to be continued. */
  readonly continued: boolean;
  /** The server tool call that a continued turn waits for. */
  readonly pending: ServerToolUseBlockParam | undefined;
}

/** Reads the conversation for what there is to answer. */
export function readConversation(request: PromptRequest): Conversation {
  const turns = readTurns(request.messages).filter((turn) => turn.role !== "system");
  const last = turns.at(-1);
  const continued = last?.role === "assistant" && endsInServerTool(last);
  const lastUser = turns.findLast((turn) => turn.role === "user");
  const end = last?.blocks.at(-1)?.block;
  return {
    turns,
    text: textOf(lastUser),
    results: last === lastUser ? resultsOf(last, turns.at(-2)) : [],
    continued,
    pending: continued && end?.type === "server_tool_use" ? end : undefined,
  };
}

function textOf(turn: Turn | undefined): string {
  const texts = (turn?.blocks ?? []).flatMap(({ block }) => (block.type === "text" ? [block.text] : []));
  return texts.join("\n");
}

function resultsOf(turn: Turn | undefined, calls: Turn | undefined): AnsweredCall[] {
  const names = new Map(
    (calls?.blocks ?? []).flatMap(({ block }) => (block.type === "tool_use" ? [[block.id, block.name] as const] : [])),
  );
  return (turn?.blocks ?? []).flatMap(({ block }) =>
    block.type === "tool_result"
      ? [{ name: names.get(block.tool_use_id) ?? "tool", text: resultText(block), failed: block.is_error === true }]
      : [],
  );
}

function resultText({ content = "" }: ToolResultBlockParam): string {
  if (typeof content === "string") return content;
  return content.map((part) => (part.type === "text" ? part.text : `[${part.type}]`)).join(" ");
}

/** The beginning of a text, for quoting. */
export function excerpt(text: string): string {
  const short = firstTokens(text, 50);
  return short === text ? text : `${short}…`;
}
