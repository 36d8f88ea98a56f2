import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type { Logger } from "pino";
import { BudgetKind, type Run, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import { failureOf } from "../errors/connect-error.ts";
import { isTelling } from "../errors/failure.ts";
import type { CallRecord } from "../rpc/call.ts";
import type { RunRecord } from "../runs/run-record.ts";
import { isFault, statusName } from "./status.ts";
import { spanContextOf, traceFields } from "./tracing.ts";

/**
 * Writes one line a call, and one more at level error when it raises an alert. They hold no prompt, no answer, no token
 * and no key.
 */
export function logCall(logger: Logger, record: CallRecord): void {
  const span = spanContextOf(record.trace);
  if (record.alert !== undefined) {
    logger.error(
      { call: record.id, ...traceFields(span), caller: record.caller, alert: record.alert, reason: record.reason },
      "the operator must act",
    );
  }
  const code = record.code ?? Code.Unknown;
  const level = isFault(code) ? "warn" : record.quiet ? "debug" : "info";
  if (!logger.isLevelEnabled(level)) return;
  const { turn } = record;
  const usage = turn?.usage;
  logger[level](
    {
      call: record.id,
      ...traceFields(span),
      method: record.method,
      protocol: record.protocol,
      caller: record.caller,
      peer: record.peer,
      code: statusName(code),
      reason: record.reason,
      duration_ms: round(performance.now() - record.startedAt),
      ttft_ms: record.firstOutputAt === undefined ? undefined : round(record.firstOutputAt - record.startedAt),
      ...(usage !== undefined && { model: turn?.answer.text("model"), usage: tokens(usage) }),
      upstream_request_id: record.upstreamRequestId ?? turn?.answer.requestId,
      attempts: turn?.attempts,
      ...(record.run !== undefined && runFields(record.run)),
      labels: record.labels !== undefined && Object.keys(record.labels).length > 0 ? record.labels : undefined,
      err: record.fault,
    },
    "call",
  );
}

/** Writes one line for a run that has ended, and one more at level error when it raises an alert. */
export function logRun(logger: Logger, { run, owner, failure, span, callId }: RunRecord): void {
  const told = failure === undefined ? undefined : failureOf(failure);
  if (told?.alert !== undefined) {
    logger.error(
      { run: run.id, call: callId, ...traceFields(span), caller: owner, alert: told.alert, reason: told.reason },
      "the operator must act",
    );
  }
  logger[isFault(told?.code ?? 0) ? "warn" : "info"](
    {
      ...runFields(run),
      call: callId,
      ...traceFields(span),
      caller: owner,
      reason: told?.reason,
      exhausted_budget: run.exhaustedBudget === BudgetKind.UNSPECIFIED ? undefined : BudgetKind[run.exhaustedBudget],
      duration_ms: run.createTime && run.finishTime && timestampMs(run.finishTime) - timestampMs(run.createTime),
      labels: Object.keys(run.labels).length > 0 ? run.labels : undefined,
      err: isTelling(failure) ? failure.cause : failure,
    },
    "run",
  );
}

/** Writes that a tool threw what it should not have. */
export function logToolFault(
  logger: Logger,
  { run, owner, span, callId }: RunRecord,
  tool: string,
  fault: unknown,
): void {
  logger.error(
    { run: run.id, call: callId, ...traceFields(span), caller: owner, tool, err: fault },
    "a tool has thrown",
  );
}

/** What a line tells of a run. */
export function runFields({ id, state, turns, toolCalls, usage }: Run) {
  return {
    run: id,
    state: RunState[state],
    turns,
    tool_calls: toolCalls,
    usage: usage && tokens(usage),
  };
}

function tokens(usage: Usage) {
  return {
    input: usage.inputTokens,
    output: usage.outputTokens,
    cache_read: usage.cacheReadInputTokens,
    cache_write: usage.cacheCreationInputTokens,
    thinking: usage.thinkingTokens,
    estimated: usage.outputTokensEstimated || undefined,
  };
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}
