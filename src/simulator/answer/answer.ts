/** A piece of a response body. */
export interface Part {
  readonly data: string | Uint8Array;
  /**
   * What is waited for before it is sent: nothing, the first token of the answer, or one more token.
   */
  readonly pace: "none" | "first" | "token";
}

/** A response, ready to be delivered. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Server-sent events, each a part, or a body in one part. */
  readonly streamed: boolean;
  /** Tokens that must have been generated before the headers can go out: an answer that is not streamed. */
  readonly tokensBeforeHeaders: number;
  readonly parts: Iterable<Part>;
}

/** A JSON response. */
export function jsonAnswer(
  status: number,
  body: unknown,
  options: { headers?: Readonly<Record<string, string>>; tokensBeforeHeaders?: number } = {},
): Answer {
  return {
    status,
    headers: { "content-type": "application/json", ...options.headers },
    streamed: false,
    tokensBeforeHeaders: options.tokensBeforeHeaders ?? 0,
    parts: [{ data: JSON.stringify(body), pace: "none" }],
  };
}

/** A stream of server-sent events. */
export function streamAnswer(parts: Iterable<Part>, headers: Readonly<Record<string, string>> = {}): Answer {
  return {
    status: 200,
    headers: { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", ...headers },
    streamed: true,
    tokensBeforeHeaders: 0,
    parts,
  };
}
