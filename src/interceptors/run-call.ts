import { create, type Message } from "@bufbuild/protobuf";
import { Code, type ConnectError } from "@connectrpc/connect";
import { PartialOutputSchema } from "../../gen/parley/v1/errors_pb.js";
import { abortCause } from "../errors/abort-cause.ts";
import { failureOf, toConnectError } from "../errors/connect-error.ts";
import { isTelling } from "../errors/failure.ts";
import type { Call, CallRecord, Interceptor, Method } from "../rpc/call.ts";

/**
 * Runs a call through the interceptors to its handler, whatever protocol it came by: the one place where an outcome is
 * recorded and an error becomes what the caller is told.
 *
 * @throws {ConnectError} always with all details.
 */
export async function runCall<T>(
  call: Call,
  method: Method["desc"],
  input: Message,
  interceptors: readonly Interceptor[],
  handle: () => Promise<T>,
): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<void>();
  call.record.settled = promise;
  call.record.receivedAt = performance.now();
  call.record.deadline = call.deadline;
  try {
    for (const intercept of interceptors) await intercept(call, method, input);
    const result = await handle();
    // The caller may have been told of the deadline in the same moment.
    call.signal.throwIfAborted();
    call.record.code = 0;
    return result;
  } catch (error) {
    throw callFailure(call, error);
  } finally {
    resolve();
  }
}

/**
 * Records how a call failed, and returns what the caller is told. Once a call was aborted, that counts, and not what was
 * thrown in consequence.
 */
export function callFailure(call: Call, error?: unknown): ConnectError {
  const { record } = call;
  const cause = abortCause(call) ?? error;
  const { code, reason, alert, upstreamRequestId } = failureOf(cause);
  record.code = code;
  record.reason = reason;
  record.alert = alert;
  record.upstreamRequestId = upstreamRequestId;
  if (isTelling(cause)) record.fault = cause.cause;
  else if (code === Code.Internal) record.fault = cause;
  return toConnectError(cause, { id: record.id, chatPath: record.chatPath, partial: partialOutput(record) });
}

/** How much of Claude's usage that has no field goes with an error, in characters. */
const MAX_EXTRA_LENGTH = 512;

function partialOutput({ turn, run, lastSequence }: CallRecord) {
  const told = run?.usage ?? turn?.usage;
  if (told === undefined) return undefined;
  // Errors travel in trailers, which must stay small.
  const usage = told.extraJson.length > MAX_EXTRA_LENGTH ? { ...told, extraJson: "" } : told;
  return create(PartialOutputSchema, { usage, lastSequence: lastSequence ?? 0 });
}
