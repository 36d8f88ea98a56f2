import { Code } from "@connectrpc/connect";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import type { CallObserver } from "../listen/dispatcher.ts";
import type { CallRecord } from "../rpc/call.ts";
import { logCall } from "./call-log.ts";
import type { Instruments } from "./instruments.ts";
import type { Labels } from "./label-values.ts";
import type { Logger } from "./logger.ts";
import { attribute, spanEvent } from "./names.ts";
import { isServerFault, statusName } from "./status.ts";
import { epochMs, recordingSpan, type Tracing } from "./tracing.ts";
import { usageAttributes } from "./usage.ts";

export interface ObservedCallsOptions {
  readonly instruments: Instruments;
  readonly tracing: Tracing;
  readonly logger: Logger;
  readonly labels: Labels;
}

/** Observes calls: the server's span, metrics, and the line in the log. Probes have no span. */
export function observeCalls({ instruments, tracing, logger, labels }: ObservedCallsOptions): CallObserver {
  return {
    started(record, headers) {
      instruments.rpc(record.method).active.add(1);
      const incoming = tracing.incoming(headers);
      record.trace = record.quiet
        ? incoming
        : tracing.start(record.method, { kind: SpanKind.SERVER, attributes: attributesOf(record) }, incoming);
    },
    ended(record) {
      instruments.rpc(record.method).active.add(-1);
      measure(record, instruments, labels);
      endCallSpan(record);
      logCall(logger, record);
    },
  };
}

function attributesOf(record: CallRecord) {
  return {
    [attribute.rpcSystem]: rpcSystem(record.protocol),
    [attribute.rpcMethod]: record.method,
    [attribute.clientAddress]: record.peer,
    [attribute.caller]: record.caller,
    [attribute.callId]: record.id,
    [attribute.protocol]: record.protocol,
  };
}

/** gRPC-Web is gRPC in another frame, and Server-Sent Events are a form of Connect. */
function rpcSystem(protocol: string): string {
  return protocol.startsWith("grpc") ? "grpc" : "connectrpc";
}

function measure(record: CallRecord, instruments: Instruments, { reasons }: Labels): void {
  const { startedAt, receivedAt, firstOutputAt, turn, handledAt, reason, alert } = record;
  const { labels: method, received, sent } = instruments.rpc(record.method);
  const status = statusName(record.code ?? Code.Unknown);
  instruments.rpcDuration.record((performance.now() - startedAt) / 1_000, {
    [attribute.rpcMethod]: record.method,
    [attribute.rpcStatus]: status,
    [attribute.rpcSystem]: rpcSystem(record.protocol),
  });
  if (firstOutputAt !== undefined) instruments.rpcFirstMessage.record((firstOutputAt - startedAt) / 1_000, method);
  if (receivedAt !== undefined) received.add(1);
  if (record.messagesSent) sent.add(record.messagesSent);
  if (
    receivedAt !== undefined &&
    turn?.requestedAt !== undefined &&
    turn.answeredAt !== undefined &&
    handledAt !== undefined
  ) {
    const overhead = turn.requestedAt - receivedAt + (handledAt - turn.answeredAt);
    instruments.rpcOverhead.record(overhead / 1_000, method);
  }
  if (record.code !== 0) {
    instruments.rpcErrors.add(1, {
      [attribute.rpcMethod]: record.method,
      [attribute.rpcStatus]: status,
      [attribute.errorType]: reasons.admit(reason ?? status),
    });
  }
  // What a run fails with, its observer counts, also when nobody is attached.
  if (alert !== undefined && record.run === undefined) instruments.alerts.add(1, { [attribute.alert]: alert });
}

function endCallSpan(record: CallRecord): void {
  const span = recordingSpan(record.trace);
  if (span === undefined) return;
  const code = record.code ?? Code.Unknown;
  const { firstOutputAt, handledAt, messagesSent, turn, run, linkedSpan, reason } = record;
  if (firstOutputAt !== undefined) span.addEvent(spanEvent.firstMessage, undefined, epochMs(firstOutputAt));
  // What it sends then is nothing new.
  if (handledAt !== undefined && messagesSent) span.addEvent(spanEvent.lastMessage, undefined, epochMs(handledAt));
  span.setAttributes({
    [attribute.rpcStatus]: statusName(code),
    [attribute.errorType]: code === 0 ? undefined : (reason ?? statusName(code)),
    [attribute.attempts]: turn?.attempts,
    [attribute.runId]: run?.id,
  });
  const usage = turn?.usage;
  if (usage !== undefined) span.setAttributes(usageAttributes(usage));
  if (linkedSpan !== undefined) span.addLink({ context: linkedSpan });
  // Of other codes it is the caller who is at fault, or who wished so.
  if (isServerFault(code)) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
}
