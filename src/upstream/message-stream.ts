import type { RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages";
import { ClaudeError } from "../errors/claude-error.ts";
import { ParleyError } from "../errors/parley-error.ts";
import { Answer } from "./answer.ts";
import type { ByteSink, ByteSource } from "./byte-source.ts";
import { type ServerSentEvent, SseDecoder } from "./sse-decoder.ts";
import type { StreamEvent } from "./stream-event.ts";
import { bodyError } from "./upstream-errors.ts";

/** What may wait for a reader before the connection is paused, in bytes of the body. */
const HIGH_WATER_BYTES = 64 * 1024;

/**
 * Claude's events in batches: each `next` takes all that arrived since the one before. Reading no further pauses the
 * connection.
 *
 * The iteration ends after `message_stop` and only then. A stream that ends earlier, or holds anything but Claude's
 * events, fails with a ParleyError, and an `error` event with a ClaudeError, in both cases after all events before it.
 */
export class MessageStream implements AsyncIterableIterator<readonly StreamEvent[], undefined>, ByteSink {
  /** The `request-id` of the response. */
  readonly requestId: string | undefined;
  /** What has been received of the answer, which can be more than has been read. */
  readonly answer: Answer;
  readonly #source: ByteSource;
  readonly #decoder = new SseDecoder();
  #queue: StreamEvent[] = [];
  #queuedBytes = 0;
  #paused = false;
  #started = false;
  #complete = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(source: ByteSource, requestId: string | undefined) {
    this.#source = source;
    this.requestId = requestId;
    this.answer = new Answer(requestId);
    source.start(this);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<readonly StreamEvent[], undefined>> {
    if (this.#queue.length === 0 && !this.#complete && this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      this.#queuedBytes = 0;
      this.#resume();
      return { done: false, value: batch };
    }
    if (this.#failure !== undefined) throw this.#failure;
    return { done: true, value: undefined };
  }

  /** Stops reading. The connection is closed unless the answer was complete. */
  async return(): Promise<IteratorResult<readonly StreamEvent[], undefined>> {
    if (this.#complete) this.#resume();
    else this.#fail(new ParleyError("CANCELLED", "the answer is not read to its end"));
    this.#queue = [];
    return { done: true, value: undefined };
  }

  data(chunk: Uint8Array): void {
    if (this.#complete || this.#failure !== undefined) return;
    try {
      this.#decoder.decode(chunk, this.#take);
    } catch (error) {
      this.#fail(error instanceof ClaudeError || error instanceof ParleyError ? error : this.#malformed(error));
    }
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes > HIGH_WATER_BYTES && !this.#complete && this.#failure === undefined && !this.#paused) {
      this.#paused = true;
      this.#source.pause();
    }
    if (this.#queue.length > 0) this.#notify();
  }

  end(): void {
    if (this.#complete || this.#failure !== undefined) return;
    this.#fail(
      new ParleyError("UPSTREAM_STREAM_TRUNCATED", "Claude's answer ended before it was complete", {
        upstreamRequestId: this.requestId,
      }),
    );
  }

  fail(error: Error): void {
    if (this.#complete || this.#failure !== undefined) return;
    this.#fail(bodyError(error, this.requestId));
  }

  readonly #take = ({ name, data }: ServerSentEvent): void => {
    if (this.#complete || name === "ping" || data === "") return;
    const event = JSON.parse(data) as RawMessageStreamEvent;
    const type: unknown = event?.type;
    if (typeof type !== "string") throw new TypeError("an event without a type");
    if (type === "ping") return;
    if (type === "error") throw this.#errorEvent(event);
    if (this.#started === (type === "message_start")) throw new TypeError("message_start is not the first event");
    this.#started = true;
    this.answer.add({ event, json: data });
    this.#queue.push({ event, json: data });
    if (type === "message_stop") this.#complete = true;
  };

  #errorEvent(event: object): ClaudeError {
    const { error, request_id } = event as {
      error?: { type?: string; message?: string; details?: { error_code?: string } | null } | null;
      request_id?: string | null;
    };
    return new ClaudeError({
      status: undefined,
      type: error?.type,
      errorCode: error?.details?.error_code,
      message: error?.message,
      requestId: request_id ?? this.requestId,
    });
  }

  #malformed(cause: unknown): ParleyError {
    return new ParleyError("UPSTREAM_STREAM_MALFORMED", "Claude's answer could not be understood", {
      cause,
      upstreamRequestId: this.requestId,
    });
  }

  #fail(error: Error): void {
    this.#failure = error;
    this.#source.abort(error);
    this.#notify();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#source.resume();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
