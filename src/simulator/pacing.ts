/** How fast a simulated model writes. */
export interface Pacing {
  /** Milliseconds from the start of an answer to its first content. Default 300. */
  readonly firstTokenMs?: number | undefined;
  /** Tokens a second after the first. Default 60. */
  readonly tokensPerSecond?: number | undefined;
}

/** A pacing with every value known. `tokensPerSecond` is `Infinity` when nothing is to be waited for. */
export type ResolvedPacing = { readonly [K in keyof Pacing]-?: number };

/** Fills in the defaults. `"instant"` never waits. */
export function resolvePacing(pacing: Pacing | "instant" | undefined): ResolvedPacing {
  if (pacing === "instant") return { firstTokenMs: 0, tokensPerSecond: Number.POSITIVE_INFINITY };
  return { firstTokenMs: pacing?.firstTokenMs ?? 300, tokensPerSecond: pacing?.tokensPerSecond ?? 60 };
}
