import { timestampMs } from "@bufbuild/protobuf/wkt";
import { runFields } from "../observe/call-log.ts";
import { spanContextOf } from "../observe/tracing.ts";
import type { CallRecord } from "../rpc/call.ts";
import type { RunRecord } from "../runs/run-record.ts";
import type { ActiveCalls } from "./active-calls.ts";

/** No more are told, however many there are: the oldest. */
const MOST_LISTED = 1_000;

/** Calls in progress, by the names that the log has. No prompt, no answer. */
export function callsInProgress(calls: ActiveCalls): object {
  const now = performance.now();
  return { total: calls.size, calls: calls.list(MOST_LISTED).map((record) => describeCall(record, now)) };
}

/** Runs that have not ended, by the names that the log has. No prompt, no answer, no arguments of tools. */
export function runsInProgress(runs: readonly RunRecord[]): object {
  const now = Date.now();
  return { total: runs.length, runs: runs.slice(0, MOST_LISTED).map((record) => describeRun(record, now)) };
}

function describeCall(record: CallRecord, now: number): object {
  const { deadline = Number.POSITIVE_INFINITY, labels = {} } = record;
  return {
    call: record.id,
    trace_id: spanContextOf(record.trace)?.traceId,
    method: record.method,
    protocol: record.protocol,
    caller: record.caller,
    peer: record.peer,
    age_ms: Math.round(now - record.startedAt),
    deadline_in_ms: Number.isFinite(deadline) ? Math.round(deadline - now) : undefined,
    phase: phaseOf(record),
    attempts: record.turn?.attempts,
    last_sequence: record.lastSequence,
    run: record.run?.id,
    labels: Object.keys(labels).length > 0 ? labels : undefined,
  };
}

function phaseOf({ settled, handledAt, run, turn, firstOutputAt }: CallRecord): string {
  if (settled === undefined) return "request_arriving";
  if (handledAt !== undefined) return "answer_leaving";
  if (run !== undefined) return "in_run";
  if (turn === undefined || turn.attempts === 0) return "handling";
  return firstOutputAt === undefined ? "waiting_for_claude" : "streaming";
}

function describeRun({ run, owner, span }: RunRecord, now: number): object {
  return {
    ...runFields(run),
    trace_id: span?.traceId,
    caller: owner,
    age_ms: run.createTime && now - timestampMs(run.createTime),
    last_sequence: run.lastSequence,
    pending_tools: run.pendingActions.map(({ name }) => name),
    labels: Object.keys(run.labels).length > 0 ? run.labels : undefined,
  };
}
