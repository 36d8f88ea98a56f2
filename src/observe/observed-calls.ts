import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import type { CallObserver } from "../listen/dispatcher.ts";
import type { CallRecord } from "../rpc/call.ts";
import { usageOf } from "../rpc/convert/response.ts";
import { logCall } from "./call-log.ts";
import type { Instruments } from "./instruments.ts";
import type { LabelValues } from "./label-values.ts";
import type { Logger } from "./logger.ts";
import { attribute, spanEvent } from "./names.ts";
import { isServerFault, statusName } from "./status.ts";
import { epochMs, recordingSpan, type Tracing } from "./tracing.ts";
import { usageAttributes } from "./usage.ts";

export interface ObservedCallsOptions {
  readonly instruments: Instruments;
  readonly tracing: Tracing;
  readonly logger: Logger;
  /** Reasons of errors as labels have them. Claude may have new ones. */
  readonly reasons: LabelValues;
}

/** Observes calls: the server's span, metrics, and the line in the log. Probes have no span. */
export function observeCalls({ instruments, tracing, logger, reasons }: ObservedCallsOptions): CallObserver {
  return {
    started(record, headers) {
      instruments.rpc(record.method).active.add(1);
      const incoming = tracing.incoming(headers);
      record.trace = record.quiet
        ? incoming
        : tracing.start(record.method, { kind: SpanKind.SERVER, attributes: attributesOf(record) }, incoming);
    },
    ended(record) {
      measure(record, instruments, reasons);
      endSpan(record);
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

function measure(record: CallRecord, instruments: Instruments, reasons: LabelValues): void {
  const { startedAt, firstOutputAt, turn, handledAt, reason, alert } = record;
  const { labels, active, received, sent } = instruments.rpc(record.method);
  const status = statusName(record.code ?? 2);
  active.add(-1);
  instruments.rpcDuration.record((performance.now() - startedAt) / 1_000, {
    [attribute.rpcMethod]: record.method,
    [attribute.rpcStatus]: status,
    [attribute.rpcSystem]: rpcSystem(record.protocol),
  });
  if (firstOutputAt !== undefined) instruments.rpcFirstMessage.record((firstOutputAt - startedAt) / 1_000, labels);
  // It ran, so its one message had come.
  if (record.settled !== undefined) received.add(1);
  if (record.messagesSent) sent.add(record.messagesSent);
  if (turn?.requestedAt !== undefined && turn.answeredAt !== undefined && handledAt !== undefined) {
    const overhead = turn.requestedAt - startedAt + (handledAt - turn.answeredAt);
    instruments.rpcOverhead.record(overhead / 1_000, labels);
  }
  if (record.code !== 0) {
    instruments.rpcErrors.add(1, {
      [attribute.rpcMethod]: record.method,
      [attribute.rpcStatus]: status,
      [attribute.errorType]: reasons.admit(reason ?? status),
    });
  }
  if (alert !== undefined) instruments.alerts.add(1, { [attribute.alert]: alert });
}

function endSpan(record: CallRecord): void {
  const span = recordingSpan(record.trace);
  if (span === undefined) return;
  const code = record.code ?? 2;
  const { firstOutputAt, handledAt, turn, run, linkedSpan, reason } = record;
  if (firstOutputAt !== undefined) span.addEvent(spanEvent.firstMessage, undefined, epochMs(firstOutputAt));
  if (handledAt !== undefined) span.addEvent(spanEvent.lastMessage, undefined, epochMs(handledAt));
  span.setAttributes({
    [attribute.rpcStatus]: statusName(code),
    [attribute.errorType]: code === 0 ? undefined : (reason ?? statusName(code)),
    [attribute.attempts]: turn?.attempts,
    [attribute.runId]: run?.id,
  });
  if (turn?.answer.begun) span.setAttributes(usageAttributes(usageOf(turn.answer)));
  if (linkedSpan !== undefined) span.addLink({ context: linkedSpan });
  // Of other codes it is the caller who is at fault, or who wished so.
  if (isServerFault(code)) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
}
