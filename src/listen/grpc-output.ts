import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Message } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import { grpcStatusOk, headerGrpcStatus, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { Output } from "../rpc/output.ts";
import type { EnvelopeWriter } from "./envelope.ts";

/**
 * Writes the response of a gRPC call: header, messages, and the status in the trailer. All messages that were sent in one
 * turn of the event loop are written at once.
 */
export class GrpcOutput extends Output<Message> {
  readonly #stream: ServerHttp2Stream;
  readonly #writer: EnvelopeWriter;
  readonly #header: OutgoingHttpHeaders;
  readonly #describe: (error: unknown) => ConnectError;
  #queue: Message[] = [];
  #hasResponded = false;
  #isScheduled = false;
  /** The stream holds as much as it wants to, until it drains. */
  #isFull = false;
  /** Nothing can be written any more. */
  #isGone = false;
  #end: { readonly error: ConnectError | undefined } | undefined;
  #wakeWriters: (() => void)[] = [];

  /** @param describe makes what the caller is told when a message cannot be serialised. */
  constructor(
    stream: ServerHttp2Stream,
    writer: EnvelopeWriter,
    header: OutgoingHttpHeaders,
    describe: (error: unknown) => ConnectError,
  ) {
    super();
    this.#describe = describe;
    this.#stream = stream;
    this.#writer = writer;
    this.#header = header;
    stream.on("drain", () => {
      this.#isFull = false;
      this.#flush();
    });
    stream.once("wantTrailers", () => {
      try {
        stream.sendTrailers(trailerOf(this.#end?.error));
      } catch {
        // A call must end, and an error must not leave an event listener.
        stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      }
    });
  }

  /** Whether nothing more can be sent. */
  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  get isWanted(): boolean {
    return this.#end === undefined && !this.#isFull && this.#queue.length === 0;
  }

  send(message: Message): void {
    if (this.#end !== undefined) return;
    this.sent++;
    // Nearly always the only one: an array made by `push` has room for seventeen.
    if (this.#queue.length === 0) this.#queue = [message];
    else this.#queue.push(message);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  wanted(): Promise<void> | undefined {
    this.#flush();
    return this.isWanted ? undefined : this.#untilWanted();
  }

  async #untilWanted(): Promise<void> {
    while (this.#end === undefined && !this.isWanted) {
      await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
    }
    if (this.#end?.error !== undefined) throw this.#end.error;
  }

  end(): void {
    this.#close(undefined);
  }

  fail(error: ConnectError): void {
    this.#close(error);
  }

  /** Writes nothing any more: the stream is closed. */
  leave(): void {
    this.#isGone = true;
    this.#queue = [];
  }

  #close(error: ConnectError | undefined): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#flush();
    this.#wakeAllWriters();
  }

  #flush(): void {
    if (this.#isGone) return;
    const stream = this.#stream;
    while (this.#queue.length > 0 && !this.#isFull) {
      const chunk = this.#takeChunk();
      if (chunk === undefined) break;
      this.#respond();
      if (this.#end !== undefined && this.#queue.length === 0) {
        this.#isGone = true;
        stream.end(chunk);
        return;
      }
      this.#isFull = !stream.write(chunk);
    }
    if (this.#queue.length > 0) return;
    if (this.#end !== undefined) {
      this.#isGone = true;
      this.#respondLast(this.#end.error);
    } else if (!this.#isFull) {
      this.#wakeAllWriters();
    }
  }

  /** Takes as many messages from the queue as make a chunk. */
  #takeChunk(): Buffer | undefined {
    try {
      const [chunk, count] = this.#writer.write(this.#queue);
      this.#queue = count === this.#queue.length ? [] : this.#queue.slice(count);
      return chunk;
    } catch (error) {
      this.#queue = [];
      this.#end = { error: this.#describe(error) };
      this.#wakeAllWriters();
      return undefined;
    }
  }

  /**
   * Ends the response. When it has not begun and the call has failed, all of it is one header (Trailers-Only): clients try
   * a call again only as long as they have seen no header without a status. (Node closes such a stream only when
   * the request is complete.)
   */
  #respondLast(error: ConnectError | undefined): void {
    const stream = this.#stream;
    if (this.#hasResponded || error === undefined || !stream.readableEnded || stream.closed || stream.destroyed) {
      this.#respond();
      stream.end();
      return;
    }
    this.#hasResponded = true;
    stream.respond({ ...this.#header, ...trailerOf(error) }, { endStream: true });
  }

  #respond(): void {
    if (this.#hasResponded) return;
    this.#hasResponded = true;
    // It may be closed, and not yet have said so.
    if (!this.#stream.closed && !this.#stream.destroyed) this.#stream.respond(this.#header, { waitForTrailers: true });
  }

  #wakeAllWriters(): void {
    if (this.#wakeWriters.length === 0) return;
    const waiting = this.#wakeWriters;
    this.#wakeWriters = [];
    for (const wake of waiting) wake();
  }
}

const OK: OutgoingHttpHeaders = { [headerGrpcStatus]: grpcStatusOk };

function trailerOf(error: ConnectError | undefined): OutgoingHttpHeaders {
  if (error === undefined) return OK;
  return Object.fromEntries(setTrailerStatus(new Headers(), error));
}
