import type { Message } from "@bufbuild/protobuf";
import { type ConnectError, type ContextKey, createContextKey, type HandlerContext } from "@connectrpc/connect";
import type { Compression } from "@connectrpc/connect/protocol";
import { callFailure, runCall } from "../interceptors/run-call.ts";
import type { Call, CallRecord, Interceptor, Method, UnaryMethod } from "../rpc/call.ts";
import type { Output } from "../rpc/output.ts";
import { PulledOutput } from "./pulled-output.ts";

/** What all protocols need to serve a method. */
export interface ServeOptions {
  readonly interceptors: readonly Interceptor[];
  /** Compressions of requests that are understood, and of answers that are offered. */
  readonly acceptCompression: Compression[];
  /** The most bytes that a request message may have. */
  readonly readMaxBytes: number;
  /** The longest deadline, in milliseconds, of all methods but those that are unlimited. */
  readonly maxTimeoutMs: number;
  /** Aborted with the reason that calls in progress end with. */
  readonly shutdownSignal: AbortSignal;
}

/** The record of a call on its way from the socket to its handler. */
export const recordKey: ContextKey<CallRecord> = createContextKey<CallRecord>(undefined as unknown as CallRecord);

/** Begins a call. */
export function openCall(context: HandlerContext): Call {
  const record = context.values.get(recordKey);
  const { requestHeader } = context;
  return {
    record,
    signal: context.signal,
    deadline: performance.now() + (context.timeoutMs() ?? Number.POSITIVE_INFINITY),
    header: (name) => requestHeader.get(name) ?? undefined,
  };
}

/** Begins the output of a call. It ends with the call at the latest. */
export function openOutput(call: Call): PulledOutput<Message> {
  return new PulledOutput(call.signal, () => callFailure(call));
}

/** Runs a method of either kind: what it sends, and how it ends, goes to the output. */
export async function runMethod(
  method: Method,
  input: Message,
  call: Call,
  options: ServeOptions,
  out: Output<Message>,
): Promise<void> {
  try {
    await runCall(call, method.desc, input, options.interceptors, async () => {
      try {
        if (isUnary(method)) out.send(await method.handle(input, call));
        else await method.handle(input, call, out);
      } finally {
        // Before the call counts as settled: then its observer reads both.
        call.record.messagesSent = out.sent;
        call.record.handledAt = performance.now();
      }
    });
    out.end();
  } catch (error) {
    out.fail(error as ConnectError);
  }
}

export function isUnary(method: Method): method is UnaryMethod {
  return method.desc.methodKind === "unary";
}
