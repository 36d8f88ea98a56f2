/** Takes what a ByteSource delivers. Exactly one of `end` and `fail` is called, last. */
export interface ByteSink {
  data(chunk: Uint8Array): void;
  end(): void;
  fail(error: Error): void;
}

/**
 * The body of a response as it arrives, pushed rather than pulled: all chunks of one read reach the sink in one turn of
 * the event loop, without a promise for each. Delivers nothing before `start`, and at most what is already on its way
 * after `pause`.
 */
export interface ByteSource {
  start(sink: ByteSink): void;
  pause(): void;
  resume(): void;
  /** Nothing more of the body matters: it may come to its end without hurry, so that the connection is kept. */
  release(): void;
  /** Closes the connection if the body has not ended. The sink's `fail` gets the reason. */
  abort(reason: Error): void;
}
