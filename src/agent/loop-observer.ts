import type { Context } from "@opentelemetry/api";
import type { Tool, ToolTrace } from "../tools/tool.ts";
import type { Answer } from "../upstream/answer.ts";
import type { ToolCall, ToolOutcome } from "./tool-call.ts";

/** Is told of what a loop does, for traces and metrics. */
export interface LoopObserver {
  /** A turn begins. `number` counts the turns of the run, from 1; `trace` is that of the run's work. */
  turnStarted(number: number, trace: Context | undefined): ObservedTurn;
  /** A tool is called. */
  toolCallStarted(tool: Tool, call: ToolCall, trace: Context | undefined): ObservedToolCall;
}

export interface ObservedTurn {
  /** The trace that the requests of the turn are part of. */
  readonly trace: Context | undefined;
  /** `error` is what it failed with, or was cut by; undefined: it did not. */
  ended(answer: Answer, error: unknown): void;
}

export interface ObservedToolCall {
  readonly trace: ToolTrace;
  /** Does the work of the call, with its span as the active one: libraries in the process may add to it. */
  run<T>(work: () => T): T;
  /** Either its outcome is known, or the run was aborted for a reason. */
  ended(outcome: ToolOutcome | undefined, reason?: unknown): void;
}
