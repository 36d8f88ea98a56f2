import { Code, ConnectError } from "@connectrpc/connect";
import { isTelling } from "./failure.ts";
import { ParleyError } from "./parley-error.ts";

/** Why a call was aborted, whatever protocol it came by. Undefined: it was not. */
export function abortCause({
  signal,
  deadline,
}: {
  readonly signal: AbortSignal;
  /** By `performance.now()`. */
  readonly deadline: number;
}): Error | undefined {
  if (!signal.aborted) return undefined;
  const { reason } = signal;
  if (isTelling(reason)) return reason;
  const timedOut = reason instanceof ConnectError && reason.code === Code.DeadlineExceeded;
  return timedOut || performance.now() >= deadline
    ? new ParleyError("DEADLINE_EXCEEDED", "the deadline of the call has passed")
    : new ParleyError("CANCELLED", "the caller has cancelled the call");
}
