import { ActionKind } from "../../gen/parley/v1/agent_service_pb.js";
import type { Decision, PendingCall } from "../agent/loop-state.ts";
import { invalidField, ParleyError } from "../errors/parley-error.ts";
import type { RunRecord } from "./run-record.ts";

/** What a caller answers to an action. */
export interface ActionAnswer {
  /** Path of the answer in the request, for errors. */
  readonly field: string;
  readonly toolUseId: string;
  /** The same for the same answer, and only for that. */
  readonly fingerprint: string;
  readonly answer:
    | { readonly kind: "result"; readonly result: NonNullable<PendingCall["result"]> }
    | { readonly kind: "decision"; readonly decision: Decision };
}

/**
 * Takes answers to what a run waits for: all of them, or none.
 *
 * @returns whether this was the last that the run has waited for.
 * @throws {ParleyError} INVALID_REQUEST for a call that the run has not asked about, or an answer of the wrong kind;
 * RUN_NOT_WAITING for one that is answered otherwise, or no longer waited for.
 */
export function answerActions(
  { run, answers: given }: RunRecord,
  pending: readonly PendingCall[],
  answers: readonly ActionAnswer[],
): boolean {
  const taken = new Map<string, string>();
  for (const { field, toolUseId, fingerprint, answer } of answers) {
    const before = given.get(toolUseId) ?? taken.get(toolUseId);
    if (before === fingerprint) continue;
    if (before !== undefined) throw notWaiting(`the call ${toolUseId} has had another answer`);
    const action = run.pendingActions.find((one) => one.toolUseId === toolUseId);
    if (action === undefined) {
      if (run.pendingActions.length === 0) throw notWaiting("the run does not wait for the caller to act");
      throw invalidField(`${field}.tool_use_id`, "is no call that the run waits for: see Run.pending_actions");
    }
    const isResult = answer.kind === "result";
    if (isResult !== (action.kind === ActionKind.EXECUTE)) {
      throw invalidField(field, `must be ${isResult ? "an approval" : "a result"}: see PendingAction.kind`);
    }
    taken.set(toolUseId, fingerprint);
  }
  for (const { toolUseId, answer } of answers) {
    const call = pending.find(({ id }) => id === toolUseId);
    if (call === undefined || !taken.has(toolUseId)) continue;
    if (answer.kind === "decision") call.decision = answer.decision;
    // Claude wants the toolset named, which callers are not told.
    else call.result = { ...answer.result, ...(call.toolset !== undefined && { toolset_name: call.toolset }) };
  }
  for (const [toolUseId, fingerprint] of taken) given.set(toolUseId, fingerprint);
  run.pendingActions = run.pendingActions.filter(({ toolUseId }) => !taken.has(toolUseId));
  return taken.size > 0 && run.pendingActions.length === 0;
}

function notWaiting(message: string): ParleyError {
  return new ParleyError("RUN_NOT_WAITING", message);
}
