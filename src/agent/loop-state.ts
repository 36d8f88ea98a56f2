import type { MessageParam, ToolResultBlockParam } from "@anthropic-ai/sdk/resources/messages";
import { toolFailures } from "../tools/tool-failures.ts";
import type { Answer } from "../upstream/answer.ts";
import type { Spending } from "./budget.ts";
import { assistantMessage, resultsMessage, toolCalls } from "./history.ts";
import { failed, type ToolCall } from "./tool-call.ts";

/** A person's decision about a tool call. */
export interface Decision {
  readonly approved: boolean;
  /** Why not. Empty: not told. */
  readonly reason: string;
}

/** A tool call that Claude waits for. */
export interface PendingCall extends ToolCall {
  /** Set when it is known. */
  result?: ToolResultBlockParam;
  /** Whether those who watch the run have been told of the result. */
  reported?: boolean;
  /** Set when somebody has decided. */
  decision?: Decision;
  /** Whether the tool has been called. */
  begun?: boolean;
}

/**
 * How far a loop has come: all that is needed to go on from there. Right at any time, also after the loop was aborted in
 * whatever phase.
 */
export class LoopState implements Spending {
  /** Messages that Claude and the tools have completed. If calls are pending, the last is the answer that asks for them. */
  messages: readonly MessageParam[];
  /** Calls of the last message that are not answered yet, all of them, in their order. */
  pending: readonly PendingCall[] = [];
  turns = 0;
  /** Turns on top of the budget, in which Claude gave its best answer. What they cost is not in the other numbers. */
  lastTurns = 0;
  toolCalls = 0;
  outputTokens = 0;
  costMicrosUsd = 0;
  /** Milliseconds at work, up to the last time that it stopped. */
  activeMs = 0;
  /** Requests made to Claude. */
  attempts = 0;

  constructor(messages: readonly MessageParam[]) {
    this.messages = messages;
  }

  /** Claude has answered, and asks for tool calls or to go on. */
  answered(answer: Answer): void {
    const message = assistantMessage(answer);
    // A turn that was paused before it had said anything is asked for again as it was.
    if (message.content.length === 0) return;
    this.messages = [...this.messages, message];
    this.pending = toolCalls(answer);
  }

  /** All pending calls have their results: Claude can be told. */
  settle(): void {
    this.messages = this.settled();
    this.pending = [];
  }

  /** The messages with a result for each pending call, whether it was made or not. */
  settled(): readonly MessageParam[] {
    if (this.pending.length === 0) return this.messages;
    return [...this.messages, resultsMessage(this.pending.map((call) => call.result ?? notMade(call)))];
  }
}

function notMade(call: ToolCall): ToolResultBlockParam {
  return failed(call, toolFailures.overBudget()).result;
}
