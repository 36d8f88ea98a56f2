interface AbortLimits {
  readonly signal: AbortSignal;
  /** By `performance.now()`. */
  readonly deadline: number;
}

/** The status that a call has ended with because its time was up, or nobody wants it any more. Undefined: neither. */
export function abortStatus({ signal, deadline }: AbortLimits): "DEADLINE_EXCEEDED" | "CANCELLED" | undefined {
  if (performance.now() >= deadline) return "DEADLINE_EXCEEDED";
  return signal.aborted ? "CANCELLED" : undefined;
}
