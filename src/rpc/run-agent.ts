import { create } from "@bufbuild/protobuf";
import {
  AgentService,
  DisconnectPolicy,
  ResumeRunResponseSchema,
  RunAgentResponseSchema,
} from "../../gen/parley/v1/agent_service_pb.js";
import type { RunCall } from "../runs/active-run.ts";
import type { RunRecord } from "../runs/run-record.ts";
import type { Runs } from "../runs/runs.ts";
import { type Call, type Method, streaming } from "./call.ts";
import { budgetWith, reserveOf } from "./convert/budget.ts";
import { checkMoreBudget, newRun, runTask } from "./convert/run-request.ts";
import type { AgentDependencies } from "./dependencies.ts";
import type { Output } from "./output.ts";
import { type EventStreamOptions, sendEvents, writeEvent } from "./run-events.ts";

/** RunAgent: starts a run, and streams its events until it ends or somebody has to act. */
export function runAgent(dependencies: AgentDependencies): Method {
  const { runs, budgets, heartbeatMs } = dependencies;
  return streaming({
    desc: AgentService.method.runAgent,
    write: writeEvent,
    async handle(input, call, out) {
      call.record.labels = input.chat?.labels ?? {};
      call.record.chatPath = "chat.";
      const run = newRun(input, "", call, dependencies);
      const reserveMs = reserveOf(input.budget, timeLeft(call), budgets, "budget.deadline_reserve");
      const runCall = attached(input.disconnectPolicy, call, reserveMs);
      const { record, existing } = await runs.start(run, runCall);
      // Then the run works for another call, in another trace.
      if (existing) call.record.linkedSpan = record.span;
      await sendToTheEnd(runs, record, call, out, {
        runCall: existing ? undefined : runCall,
        after: 0,
        heartbeatMs,
        respond: (event) => create(RunAgentResponseSchema, { event }),
      });
    },
  });
}

/** ResumeRun: goes on with a run, and streams its events from there. */
export function resumeRun(dependencies: AgentDependencies): Method {
  const { runs, budgets, heartbeatMs } = dependencies;
  return streaming({
    desc: AgentService.method.resumeRun,
    write: writeEvent,
    async handle({ runId, additionalBudget }, call, out) {
      const record = await runs.find(runId, call.record.caller);
      const { request, run } = record;
      call.record.labels = run.labels;
      const reserveMs = reserveOf(additionalBudget, timeLeft(call), budgets, "additional_budget.deadline_reserve");
      const budget = budgetWith(record.budget, additionalBudget, budgets);
      checkMoreBudget(record, budget);
      const after = run.lastSequence;
      const task = runTask(request, "", call, dependencies);
      const runCall = attached(request.disconnectPolicy, call, reserveMs);
      runs.resume(record, budget, task, runCall);
      await sendToTheEnd(runs, record, call, out, {
        runCall,
        after,
        heartbeatMs,
        respond: (event) => create(ResumeRunResponseSchema, { event }),
      });
    },
  });
}

/** Milliseconds. */
function timeLeft({ deadline }: Call): number {
  return deadline - performance.now();
}

function attached(policy: DisconnectPolicy, { signal, deadline }: Call, reserveMs: number): RunCall | undefined {
  return policy === DisconnectPolicy.CONTINUE ? undefined : { signal, deadline, reserveMs };
}

/** Sends the events of a run, and then fails if the run has. */
async function sendToTheEnd<T>(
  runs: Runs,
  record: RunRecord,
  call: Call,
  out: Output<T>,
  { runCall, ...options }: Omit<EventStreamOptions<T>, "endsAtAction"> & { readonly runCall: RunCall | undefined },
): Promise<void> {
  call.record.run = record.run;
  try {
    await sendEvents(runs, record, call, out, { ...options, endsAtAction: true });
  } catch (error) {
    // However the call fails. When the run has ended, the log can tell what it has cost.
    if (runCall !== undefined && runCall.isOver !== true)
      await runs.cancel(record, "its caller does not follow it any more");
    throw error;
  }
  if (record.failure !== undefined) throw record.failure;
}
