/**
 * Waits for a promise, for so many milliseconds at the most.
 *
 * @returns what the promise resolves with; undefined when the time is up.
 * @throws the signal's reason when it is aborted.
 */
export async function waitFor<T>(
  promise: Promise<T>,
  signal: AbortSignal,
  milliseconds: number,
): Promise<T | undefined> {
  signal.throwIfAborted();
  const end = Promise.withResolvers<undefined>();
  const abort = () => end.reject(signal.reason);
  const timer = setTimeout(() => end.resolve(undefined), Math.max(0, milliseconds));
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, end.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}
