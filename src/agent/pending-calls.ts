import type { Context } from "@opentelemetry/api";
import type { Tool, ToolContext } from "../tools/tool.ts";
import { toolFailures } from "../tools/tool-failures.ts";
import { EventQueue } from "./event-queue.ts";
import { isObject } from "./history.ts";
import { LinkedAbort } from "./linked-abort.ts";
import type { LoopEvent, PendingAction } from "./loop-event.ts";
import type { LoopObserver } from "./loop-observer.ts";
import type { LoopState, PendingCall } from "./loop-state.ts";
import { Semaphore } from "./semaphore.ts";
import { callTool, failed, type ToolCallLimits, type ToolOutcome } from "./tool-call.ts";
import type { ToolSet, ToolSlots } from "./tool-set.ts";

export interface PendingCallsOptions {
  readonly tools: ToolSet;
  readonly slots: ToolSlots;
  /** Calls at a time. */
  readonly maxParallel: number;
  /** Tool calls that the run may make in all. */
  readonly maxCalls: number;
  readonly context: Pick<ToolContext, "runId" | "caller">;
  readonly limits: ToolCallLimits;
  readonly observer: LoopObserver;
  /** The trace that the calls are part of. */
  readonly trace: Context | undefined;
  /** Is told of what a tool threw that it should not have. */
  readonly onFault: (tool: string, fault: unknown) => void;
}

/** What is to be done about a pending call. */
type Plan =
  | { readonly kind: "tell"; readonly outcome: ToolOutcome }
  | { readonly kind: "make"; readonly tool: Tool }
  | { readonly kind: "execute" | "approve" };

/**
 * Makes the pending calls that can be made, all at the same time, and yields what happens. What one call does never touches
 * another.
 *
 * @returns whether the budget of tool calls did not allow all of them, and what the caller has to act on.
 * @throws the signal's reason when it is aborted.
 */
export async function* makePendingCalls(
  state: LoopState,
  options: PendingCallsOptions,
): AsyncGenerator<readonly LoopEvent[], { readonly overBudget: boolean; readonly actions: readonly PendingAction[] }> {
  const { tools, slots, maxParallel, maxCalls, context, limits, observer, trace, onFault } = options;
  const queue = new EventQueue<LoopEvent>();
  const runSlots = new Semaphore(maxParallel);
  const actions: PendingAction[] = [];
  const work: Promise<void>[] = [];
  let overBudget = false;
  using waiting = new LinkedAbort(limits.signal, limits.deadline, () =>
    waiting.abort(new DOMException("the time of the run is up", "TimeoutError")),
  );

  const finish = (call: PendingCall, outcome: ToolOutcome, duration: number) => {
    call.result = outcome.result;
    call.reported = true;
    if (outcome.fault !== undefined) onFault(call.name, outcome.fault);
    queue.push({ kind: "tool_call_finished", call, outcome, duration });
  };
  const make = async (call: PendingCall, tool: Tool) => {
    try {
      using _runSlot = await runSlots.acquire(waiting.signal);
      using _toolSlot = await slots.acquire(tool, waiting.signal);
      // A slot may be free because the time of the calls before is up, and with it that of this call.
      if (performance.now() < limits.deadline) await makeNow(call, tool);
    } catch {
      // It is not made when the time of the run is up before its turn has come.
      limits.signal.throwIfAborted();
    }
  };
  const makeNow = async (call: PendingCall, tool: Tool) => {
    const startedAt = performance.now();
    const deadline = Math.min(startedAt + tool.timeoutMs, limits.deadline);
    call.begun = true;
    state.toolCalls++;
    queue.push({ kind: "tool_call_started", turn: state.turns + state.lastTurns, call, timeout: deadline - startedAt });
    const progress = (message: string) => queue.push({ kind: "tool_call_progress", call, message });
    const observed = observer.toolCallStarted(tool, call, trace);
    let outcome: ToolOutcome | undefined;
    try {
      outcome = await callTool(tool, call, { ...context, progress }, observed, { ...limits, deadline });
    } finally {
      observed.ended(outcome, limits.signal.reason);
    }
    finish(call, outcome, performance.now() - startedAt);
  };

  // Those that the caller has made since.
  state.toolCalls += state.pending.filter((call) => call.result !== undefined && call.reported !== true).length;
  let allowed = Math.max(0, maxCalls - state.toolCalls);
  for (const call of state.pending) {
    const plan = planOf(call, tools);
    if (plan.kind === "tell") {
      if (call.reported !== true) finish(call, plan.outcome, 0);
    } else if (allowed === 0) {
      overBudget = true;
    } else {
      allowed--;
      if (plan.kind === "make") work.push(make(call, plan.tool));
      else actions.push({ call, kind: plan.kind });
    }
  }
  queue.endAfter(Promise.all(work));
  yield* queue;
  return { overBudget, actions };
}

function planOf(call: PendingCall, tools: ToolSet): Plan {
  const tell = (outcome: ToolOutcome): Plan => ({ kind: "tell", outcome });
  if (call.result !== undefined) return tell({ result: call.result });
  if (!isObject(call.inputJson)) return tell(failed(call, toolFailures.invalidInput()));
  const tool = tools.find(call.name);
  if (tool === undefined) {
    return tools.isCallers(call) ? { kind: "execute" } : tell(failed(call, toolFailures.unknown(call.name)));
  }
  // A call that was made before is made again only where that does no harm.
  if (call.begun === true && tool.sideEffect !== "none" && tool.sideEffect !== "idempotent") {
    return tell(failed(call, toolFailures.interrupted()));
  }
  if (!tool.requiresApproval || call.decision?.approved === true) return { kind: "make", tool };
  if (call.decision === undefined) return { kind: "approve" };
  return tell(failed(call, toolFailures.refused(call.decision.reason)));
}
