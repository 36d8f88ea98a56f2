import type { SpanContext } from "@opentelemetry/api";
import { type Run, type RunAgentRequest, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { ChatResponse } from "../../gen/parley/v1/chat_service_pb.js";
import type { Budget } from "../agent/budget.ts";
import type { LoopState } from "../agent/loop-state.ts";

/** A run as a store keeps it. */
export interface RunRecord {
  /** What callers are told of it. */
  readonly run: Run;
  /** Who started it, and may see it. */
  readonly owner: string;
  /** Makes starting it idempotent, for its owner. Empty: it is not. */
  readonly requestId: string;
  readonly request: RunAgentRequest;
  /** What it may use in all. Grows when it is resumed. */
  budget: Budget;
  /** How far it has come. Unset: it has ended in a way that it cannot be resumed from. */
  state: LoopState | undefined;
  /** Claude's last answer. Unset: there is none yet. */
  finalMessage: ChatResponse | undefined;
  /** Answers that callers have given to actions: a fingerprint by the call. */
  readonly answers: Map<string, string>;
  /** What it failed with, as it was thrown in this process. */
  failure: unknown;
  /** The span of its latest work, in this process. Unset: it has none. */
  span?: SpanContext | undefined;
  /** Parley's identifier of the call that its latest work is for, in this process. */
  callId?: string | undefined;
}

const ended = new Set<RunState>([
  RunState.SUCCEEDED,
  RunState.FAILED,
  RunState.CANCELLED,
  RunState.BUDGET_EXHAUSTED,
  RunState.INTERRUPTED,
]);

/** Whether a run has ended. Some can be resumed. */
export function hasEnded({ state }: Run): boolean {
  return ended.has(state);
}
