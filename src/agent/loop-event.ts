import type { Answer } from "../upstream/answer.ts";
import type { StreamEvent } from "../upstream/stream-event.ts";
import type { BudgetKind } from "./budget.ts";
import type { ToolCall, ToolOutcome } from "./tool-call.ts";

/** Something that happened in a loop. */
export type LoopEvent =
  /** `exhausted` is set when this is the last turn, since the budget is. */
  | { readonly kind: "turn_started"; readonly turn: number; readonly exhausted: BudgetKind | undefined }
  /** Claude's answer moved on. `sequence` counts its events in the turn, from 1. */
  | { readonly kind: "message"; readonly event: StreamEvent; readonly answer: Answer; readonly sequence: number }
  /** `isComplete` is false when the turn was cut. */
  | { readonly kind: "turn_finished"; readonly turn: number; readonly answer: Answer; readonly isComplete: boolean }
  | {
      readonly kind: "tool_call_started";
      readonly turn: number;
      readonly call: ToolCall;
      /** In milliseconds. */
      readonly timeout: number;
    }
  | { readonly kind: "tool_call_progress"; readonly call: ToolCall; readonly message: string }
  | {
      readonly kind: "tool_call_finished";
      readonly call: ToolCall;
      readonly outcome: ToolOutcome;
      /** In milliseconds. */
      readonly duration: number;
    };

/** How a loop came to its end, or to a stop. */
export type LoopOutcome =
  /** Claude has given its answer, or refuses, or was cut. */
  | { readonly kind: "finished"; readonly answer: Answer }
  | { readonly kind: "exhausted"; readonly budget: BudgetKind; readonly answer: Answer }
  /** Some of the pending calls need somebody to act. */
  | { readonly kind: "action_required"; readonly actions: readonly PendingAction[] };

/** What a loop waits for. */
export interface PendingAction {
  readonly call: ToolCall;
  /** `execute`: the caller runs the tool. `approve`: somebody decides. */
  readonly kind: "execute" | "approve";
}
