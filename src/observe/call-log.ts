import { Code } from "@connectrpc/connect";
import type { Logger } from "pino";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import type { CallRecord } from "../rpc/call.ts";
import { usageOf } from "../rpc/convert/response.ts";
import { statusName } from "./status-name.ts";

/** Codes that tell of a fault in Parley or behind it, not in the request. */
const FAULTS = new Set<number>([Code.Unknown, Code.Internal, Code.Unavailable, Code.DataLoss]);

/**
 * Writes one line a call, and one more at level error when it raises an alert. They hold no prompt, no answer, no token
 * and no key.
 */
export function logCall(logger: Logger, record: CallRecord, quiet: boolean): void {
  if (record.alert !== undefined) {
    logger.error({ call: record.id, alert: record.alert, reason: record.reason }, "the operator must act");
  }
  const code = record.code ?? Code.Unknown;
  const level = FAULTS.has(code) ? "warn" : quiet ? "debug" : "info";
  if (!logger.isLevelEnabled(level)) return;
  const { turn } = record;
  logger[level](
    {
      call: record.id,
      method: record.method,
      protocol: record.protocol,
      caller: record.caller,
      peer: record.peer,
      code: statusName(code),
      reason: record.reason,
      duration_ms: round(performance.now() - record.startedAt),
      ttft_ms: record.firstOutputAt === undefined ? undefined : round(record.firstOutputAt - record.startedAt),
      ...(turn?.answer.begun && {
        model: JSON.parse(turn.answer.message.get("model") ?? "null") as unknown,
        usage: tokens(usageOf(turn.answer)),
      }),
      upstream_request_id: record.upstreamRequestId ?? turn?.answer.requestId,
      attempts: turn?.attempts,
      labels: record.labels !== undefined && Object.keys(record.labels).length > 0 ? record.labels : undefined,
      err: record.fault,
    },
    "call",
  );
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
