import { create } from "@bufbuild/protobuf";
import {
  AgentService,
  AttachRunResponseSchema,
  CancelRunResponseSchema,
  CreateRunResponseSchema,
  GetRunResponseSchema,
  ListRunsResponseSchema,
  SubmitToolResultsResponseSchema,
} from "../../gen/parley/v1/agent_service_pb.js";
import { invalidField } from "../errors/parley-error.ts";
import type { RunRecord } from "../runs/run-record.ts";
import { type Call, type Method, streaming, unary } from "./call.ts";
import { actionAnswer, newRun } from "./convert/run-request.ts";
import type { AgentDependencies } from "./dependencies.ts";
import { sendEvents, writeEvent } from "./run-events.ts";

const DEFAULT_PAGE_SIZE = 100;

/** CreateRun. */
export function createRun(dependencies: AgentDependencies): Method {
  return unary({
    desc: AgentService.method.createRun,
    async handle({ run: input }, call) {
      if (input === undefined) throw new TypeError("run is required: the validation has let it pass");
      call.record.labels = input.chat?.labels ?? {};
      call.record.chatPath = "run.chat.";
      const { record, existing } = await dependencies.runs.start(newRun(input, "run.", call, dependencies), undefined);
      call.record.run = record.run;
      if (existing) call.record.linkedSpan = record.span;
      return create(CreateRunResponseSchema, { run: record.run, existing });
    },
  });
}

/** AttachRun: the events of a run from any point on, for any number of callers. */
export function attachRun({ runs, heartbeatMs }: AgentDependencies): Method {
  return streaming({
    desc: AgentService.method.attachRun,
    write: writeEvent,
    async handle({ runId, afterSequence, coalesceReplay }, call, out) {
      const record = await runs.find(runId, call.record.caller);
      const { lastSequence } = record.run;
      if (afterSequence > lastSequence) {
        throw invalidField("after_sequence", `must not be above ${lastSequence}, the last event of the run`);
      }
      noteRun(call, record);
      await sendEvents(runs, record, call, out, {
        after: afterSequence,
        joinsReplay: coalesceReplay,
        endsAtAction: false,
        heartbeatMs,
        respond: (event) => create(AttachRunResponseSchema, { event }),
      });
    },
  });
}

/** Tells traces and logs that a call is about a run. */
function noteRun({ record: callRecord }: Call, { run, span }: RunRecord): void {
  callRecord.run = run;
  callRecord.linkedSpan = span;
}

/** GetRun. */
export function getRun({ runs }: AgentDependencies): Method {
  return unary({
    desc: AgentService.method.getRun,
    async handle({ runId }, { record: { caller } }) {
      const { run, finalMessage } = await runs.find(runId, caller);
      return create(GetRunResponseSchema, { run, ...(finalMessage !== undefined && { finalMessage }) });
    },
  });
}

/** ListRuns. A page token is the identifier of the last run of the page before. */
export function listRuns({ runs }: AgentDependencies): Method {
  return unary({
    desc: AgentService.method.listRuns,
    async handle({ pageSize, pageToken, conversationId, states }, { record: { caller } }) {
      const limit = pageSize || DEFAULT_PAGE_SIZE;
      const found = await runs.list({
        owner: caller,
        limit: limit + 1,
        before: pageToken || undefined,
        conversationId: conversationId || undefined,
        states: states.length > 0 ? new Set(states) : undefined,
      });
      const page = found.slice(0, limit).map(({ run }) => run);
      const nextPageToken = found.length > limit ? (page.at(-1)?.id ?? "") : "";
      return create(ListRunsResponseSchema, { runs: page, nextPageToken });
    },
  });
}

/** CancelRun. */
export function cancelRun({ runs }: AgentDependencies): Method {
  return unary({
    desc: AgentService.method.cancelRun,
    async handle({ runId, reason }, call) {
      const record = await runs.find(runId, call.record.caller);
      noteRun(call, record);
      await runs.cancel(record, reason);
      return create(CancelRunResponseSchema, { run: record.run });
    },
  });
}

/** SubmitToolResults. */
export function submitToolResults({ runs }: AgentDependencies): Method {
  return unary({
    desc: AgentService.method.submitToolResults,
    async handle({ runId, answers }, call) {
      const record = await runs.find(runId, call.record.caller);
      noteRun(call, record);
      await runs.answer(
        record,
        answers.map((answer, index) => actionAnswer(answer, `answers[${index}]`)),
        { callId: call.record.id, trace: call.record.trace },
      );
      return create(SubmitToolResultsResponseSchema, { run: record.run });
    },
  });
}
