import { Code, ConnectError } from "@connectrpc/connect";

/** The most that a timer takes, in milliseconds: 24 days. */
export const FOR_EVER_MS = 2 ** 31 - 1;

/** How long a call may wait. */
export interface Patience {
  /** End the waiting, each with its reason. */
  readonly signals: readonly AbortSignal[];
  /** By `performance.now()`. */
  readonly deadline: number;
}

/**
 * Waits for a promise as long as the call can, and for `mostMs` at the most.
 *
 * @throws {ConnectError} CANCELED or DEADLINE_EXCEEDED when the call cannot wait any more; what the promise rejects with.
 * @returns undefined when it has taken `mostMs`.
 */
export async function within<T>(
  promise: Promise<T>,
  { signals, deadline }: Patience,
  mostMs: number,
): Promise<T | undefined> {
  const waiting = Promise.withResolvers<undefined>();
  const left = deadline - performance.now();
  const timer = setTimeout(
    () => {
      if (left > mostMs) waiting.resolve(undefined);
      else waiting.reject(new ConnectError("the operation timed out", Code.DeadlineExceeded));
    },
    Math.max(0, Math.min(left, mostMs)),
  );
  const onAbort = () =>
    waiting.reject(ConnectError.from(signals.find(({ aborted }) => aborted)?.reason, Code.Canceled));
  for (const signal of signals) {
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  }
  try {
    return await Promise.race([promise, waiting.promise]);
  } finally {
    clearTimeout(timer);
    for (const signal of signals) signal.removeEventListener("abort", onAbort);
  }
}
