import { ClaudeError } from "../errors/claude-error.ts";
import { isTelling } from "../errors/failure.ts";
import { ParleyError } from "../errors/parley-error.ts";
import { Answer } from "./answer.ts";
import type { ByteSink, ByteSource } from "./byte-source.ts";
import { SseDecoder } from "./sse-decoder.ts";
import { join, parseEvent, type StreamEvent } from "./stream-event.ts";
import { bodyError, malformed, text } from "./upstream-errors.ts";
import { WholeCharacters } from "./whole-characters.ts";

/** Events that are about an answer, which `message_start` begins. Others, of a kind yet unknown, may come before it. */
const answerEvents = new Set([
  "content_block_start",
  "content_block_delta",
  "content_block_stop",
  "message_delta",
  "message_stop",
]);

/** Is told how a stream goes on. */
export interface StreamObserver {
  /** Events have been read. `isPrompt`: a reader was waiting for them, so they had only just come. */
  received(batch: readonly StreamEvent[], isPrompt: boolean): void;
  /** Nothing more will be read. Is called once. `error` is undefined when the answer is complete. */
  ended(error: Error | undefined): void;
}

type Result = IteratorResult<readonly StreamEvent[], undefined>;

/** How many bytes may wait for a reader before the connection is paused. */
const HIGH_WATER_BYTES = 16 * 1024;

/** How many bytes are decoded at a time. Events take several times as much room as the bytes that they come from. */
const MAX_READ_BYTES = 16 * 1024;

/**
 * How many events of a batch stay as Claude sent them. When more have arrived at once, the callers are far behind: then
 * texts that follow each other in the same block become one delta, and it costs less to catch up.
 */
const EVENTS_KEPT_APART = 16;

/**
 * Claude's events in batches: each `next` takes what arrived since the one before. Reading no further pauses the
 * connection; what has arrived by then waits as bytes, which take the least room.
 *
 * The iteration ends after `message_stop` and only then. A stream that ends earlier, or holds anything but Claude's
 * events, fails with a ParleyError, and an `error` event with a ClaudeError, in both cases after all events before it.
 */
export class MessageStream implements AsyncIterableIterator<readonly StreamEvent[], undefined>, ByteSink {
  /** The `request-id` of the response. */
  readonly requestId: string | undefined;
  /** What has been read of the answer. */
  readonly answer: Answer;
  /** Is called when the answer has been read to its end. */
  onComplete: () => void = () => {};
  /** Is told of all that is read. */
  observer: StreamObserver | undefined;
  readonly #source: ByteSource;
  readonly #decoder = new SseDecoder();
  #chunks: Uint8Array[] = [];
  #waitingBytes = 0;
  #paused = false;
  /** What the source ended with. */
  #end: { readonly error: Error | undefined } | undefined;
  readonly #whole = new WholeCharacters();
  #begun = false;
  #complete = false;
  #failure: Error | undefined;
  #reader: { resolve(result: Result): void; reject(error: Error): void } | undefined;
  #isAnswering = false;
  #unread: readonly StreamEvent[] | undefined;

  /** @param omitContent whether `answer` shall have no content blocks. */
  constructor(source: ByteSource, requestId: string | undefined, omitContent = false) {
    this.#source = source;
    this.requestId = requestId;
    this.answer = new Answer(requestId, omitContent);
    source.start(this);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      this.#answerReader(false);
    });
  }

  /** Puts back events that were read: they are the next batch. */
  unread(events: readonly StreamEvent[]): void {
    this.#unread = events;
  }

  /** Stops reading. The request is aborted unless the answer was complete. */
  async return(): Promise<Result> {
    if (!this.#complete) this.#fail(new ParleyError("CANCELLED", "the answer is not read to its end"));
    return { done: true, value: undefined };
  }

  data(chunk: Uint8Array): void {
    if (this.#complete || this.#failure !== undefined) return;
    // Nearly always the only one: an array made by `push` has room for seventeen.
    if (this.#chunks.length === 0) this.#chunks = [chunk];
    else this.#chunks.push(chunk);
    this.#waitingBytes += chunk.length;
    this.#regulate();
    this.#notify();
  }

  end(): void {
    this.#end ??= { error: undefined };
    this.#notify();
  }

  fail(error: Error): void {
    this.#end ??= { error: bodyError(error, this.requestId) };
    this.#notify();
  }

  #answerReader(isPrompt: boolean): void {
    const reader = this.#reader;
    if (reader === undefined) return;
    const value = this.#nextBatch(isPrompt);
    if (value === undefined && !this.#complete && this.#failure === undefined) return;
    this.#reader = undefined;
    if (value !== undefined) reader.resolve({ done: false, value });
    else if (this.#failure !== undefined) reader.reject(this.#failure);
    else {
      this.onComplete();
      reader.resolve({ done: true, value: undefined });
    }
  }

  /** Undefined: nothing has arrived that could be handed on. */
  #nextBatch(isPrompt: boolean): readonly StreamEvent[] | undefined {
    const unread = this.#unread;
    this.#unread = undefined;
    if (unread !== undefined) return unread;
    while (!this.#complete && this.#failure === undefined && this.#chunks.length > 0) {
      const batch = this.#read(isPrompt);
      if (batch.length > 0) return batch;
    }
    if (!this.#complete && this.#failure === undefined && this.#end !== undefined)
      this.#fail(this.#end.error ?? truncated(this.requestId));
    return undefined;
  }

  /** Decodes what has arrived, in nearly all cases all of it. */
  #read(isPrompt: boolean): readonly StreamEvent[] {
    const batch: StreamEvent[] = [];
    let failure: Error | undefined;
    try {
      this.#decoder.decode(this.#takeBytes(), (data) => this.#take(data, batch));
    } catch (error) {
      failure = isTelling(error) ? error : malformed(error, this.requestId);
    }
    const { added, misfit } = this.#add(batch);
    if (added.length > 0) this.observer?.received(added, isPrompt);
    // What does not fit came before what cannot be decoded.
    const failed = misfit ?? failure;
    if (failed !== undefined) this.#fail(failed);
    this.#regulate();
    if (this.#complete && this.#failure === undefined) this.observer?.ended(undefined);
    return added;
  }

  /** Takes what is to be decoded next. Claude's chunks are small: to decode each would cost more than to join them. */
  #takeBytes(): Uint8Array {
    const [first] = this.#chunks;
    const waiting = this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks);
    const isAll = waiting.length <= MAX_READ_BYTES;
    this.#chunks = isAll ? [] : [waiting.subarray(MAX_READ_BYTES)];
    this.#waitingBytes = isAll ? 0 : waiting.length - MAX_READ_BYTES;
    return isAll ? waiting : waiting.subarray(0, MAX_READ_BYTES);
  }

  /** Pauses the connection when too much waits, and resumes it when all has been read. */
  #regulate(): void {
    if (this.#paused ? this.#waitingBytes > 0 && !this.#complete : this.#waitingBytes <= HIGH_WATER_BYTES) return;
    this.#paused = !this.#paused;
    if (this.#paused) this.#source.pause();
    else this.#source.resume();
  }

  #take(data: string, batch: StreamEvent[]): void {
    if (this.#complete) return;
    const received = parseEvent(data);
    const type: string = received.event.type;
    if (type === "ping") return;
    if (type === "error") throw this.#errorEvent(received.event);
    if (type === "message_start") {
      if (this.#begun) throw new TypeError("message_start is not the first event");
      this.#begun = true;
    } else if (!this.#begun && answerEvents.has(type)) {
      throw new TypeError(`${type} comes before message_start`);
    }
    if (this.#whole.passes(received)) put(received, batch);
    else for (const event of this.#whole.take(received)) put(event, batch);
    if (type !== "message_stop") return;
    this.#complete = true;
    this.#source.release();
  }

  /** Adds events to the answer, up to the first that does not fit it. */
  #add(batch: StreamEvent[]): { readonly added: readonly StreamEvent[]; readonly misfit: Error | undefined } {
    for (const [index, event] of batch.entries()) {
      try {
        this.answer.add(event);
      } catch (error) {
        return { added: batch.slice(0, index), misfit: malformed(error, this.requestId) };
      }
    }
    return { added: batch, misfit: undefined };
  }

  #errorEvent(event: object): ClaudeError {
    const { error, request_id } = event as {
      error?: { type?: unknown; message?: unknown; details?: { error_code?: unknown } | null } | null;
      request_id?: unknown;
    };
    return new ClaudeError({
      status: undefined,
      type: text(error?.type),
      errorCode: text(error?.details?.error_code),
      message: text(error?.message),
      requestId: text(request_id) ?? this.requestId,
    });
  }

  #fail(error: Error): void {
    const isFirst = this.#failure === undefined;
    this.#failure ??= error;
    this.#chunks = [];
    this.#source.abort(this.#failure);
    this.#notify();
    if (isFirst) this.observer?.ended(error);
  }

  /** Answers the reader after all that arrives in this turn of the event loop has arrived. */
  #notify(): void {
    if (this.#reader === undefined || this.#isAnswering) return;
    this.#isAnswering = true;
    queueMicrotask(this.#answerWaiting);
  }

  readonly #answerWaiting = (): void => {
    this.#isAnswering = false;
    this.#answerReader(true);
  };
}

function put(event: StreamEvent, batch: StreamEvent[]): void {
  if (batch.length < EVENTS_KEPT_APART || !join(batch.at(-1), event)) batch.push(event);
}

function truncated(upstreamRequestId: string | undefined): ParleyError {
  const message = "Claude's answer ended before it was complete";
  return new ParleyError("UPSTREAM_STREAM_TRUNCATED", message, { upstreamRequestId });
}
