import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { ACK, END_HEADERS, END_STREAM, FRAME, headerBlock } from "../../support/frames.ts";
import { envelope, HTTP2_PREFACE, http2Frame } from "../../support/wire.ts";

/** Is told of what comes back for a call. */
export interface CallSink {
  /** A message, between two positions of a buffer that is valid during the call only. */
  message(bytes: Buffer, start: number, end: number): void;
  /** The trailers have come, or, with `false`, the stream was reset or the connection closed. */
  end(complete: boolean): void;
}

/** The most that flow control allows (RFC 9113, 6.9.1). */
const MAX_WINDOW = 2 ** 31 - 1;
const DEFAULT_WINDOW = 65_535;

const FRAME_HEAD = 9;
const MESSAGE_HEAD = 5;

interface Stream {
  readonly sink: CallSink;
  /** The beginning of a message of which the rest has not come. */
  rest: Buffer | undefined;
}

/**
 * A gRPC client over HTTP/2 without TLS, at the least price: headers are bytes that were made before, those that come back
 * are not read, and flow control is opened as far as it goes.
 */
export class GrpcConnection {
  readonly #socket: Socket;
  readonly #streams = new Map<number, Stream>();
  readonly #reads: boolean;
  #nextId = 1;
  #waiting: Buffer | undefined;
  #consumed = 0;
  #closed = false;

  /** @param reads whether the caller takes what comes. One that does not leaves the window at 64 KiB a stream. */
  static async open(port: number, reads = true): Promise<GrpcConnection> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return new GrpcConnection(socket, reads);
  }

  private constructor(socket: Socket, reads: boolean) {
    this.#socket = socket;
    this.#reads = reads;
    // SETTINGS_INITIAL_WINDOW_SIZE is the setting 4.
    const settings = Buffer.from([0, 4, 0, 0, 0, 0]);
    settings.writeUInt32BE(reads ? MAX_WINDOW : DEFAULT_WINDOW, 2);
    socket.write(HTTP2_PREFACE);
    socket.write(http2Frame(FRAME.SETTINGS, 0, 0, settings));
    this.#grant(MAX_WINDOW - DEFAULT_WINDOW);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#closed = true;
      for (const id of this.#streams.keys()) this.#end(id, false);
    });
  }

  /** Makes a call. Returns its number, for `cancel`. */
  call(header: Buffer, message: Buffer, sink: CallSink): number {
    const id = this.#nextId;
    this.#nextId += 2;
    if (this.#closed) throw new Error("the service has closed the connection");
    this.#streams.set(id, { sink, rest: undefined });
    this.#socket.write(
      Buffer.concat([
        http2Frame(FRAME.HEADERS, END_HEADERS, id, header),
        http2Frame(FRAME.DATA, END_STREAM, id, message),
      ]),
    );
    return id;
  }

  cancel(id: number): void {
    this.#streams.delete(id);
    this.#socket.write(http2Frame(FRAME.RST_STREAM, 0, id, Buffer.from([0, 0, 0, 8])));
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    const bytes = this.#waiting === undefined ? chunk : Buffer.concat([this.#waiting, chunk]);
    let at = 0;
    while (at + FRAME_HEAD <= bytes.length) {
      const length = bytes.readUIntBE(at, 3);
      const end = at + FRAME_HEAD + length;
      if (end > bytes.length) break;
      this.#frame(bytes, at, end);
      at = end;
    }
    this.#waiting = at < bytes.length ? Buffer.from(bytes.subarray(at)) : undefined;
  }

  #frame(bytes: Buffer, start: number, end: number): void {
    const flags = bytes[start + 4] ?? 0;
    const id = bytes.readUInt32BE(start + 5);
    switch (bytes[start + 3]) {
      case FRAME.DATA:
        this.#consume(end - start - FRAME_HEAD);
        this.#data(id, bytes, start + FRAME_HEAD, end);
        if ((flags & END_STREAM) !== 0) this.#end(id, false);
        break;
      case FRAME.HEADERS:
        if ((flags & END_STREAM) !== 0) this.#end(id, true);
        break;
      case FRAME.RST_STREAM:
        this.#end(id, false);
        break;
      case FRAME.SETTINGS:
      case FRAME.PING:
        if ((flags & ACK) === 0) {
          const type = bytes[start + 3] ?? 0;
          const payload = type === FRAME.PING ? bytes.subarray(start + FRAME_HEAD, end) : "";
          this.#socket.write(http2Frame(type, ACK, 0, payload));
        }
        break;
    }
  }

  #data(id: number, bytes: Buffer, start: number, end: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (stream.rest !== undefined) {
      const joined = Buffer.concat([stream.rest, bytes.subarray(start, end)]);
      stream.rest = undefined;
      this.#messages(stream, joined, 0, joined.length);
    } else {
      this.#messages(stream, bytes, start, end);
    }
  }

  #messages(stream: Stream, bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (at + MESSAGE_HEAD <= end) {
      const next = at + MESSAGE_HEAD + bytes.readUInt32BE(at + 1);
      if (next > end) break;
      stream.sink.message(bytes, at + MESSAGE_HEAD, next);
      at = next;
    }
    if (at < end) stream.rest = Buffer.from(bytes.subarray(at, end));
  }

  #end(id: number, complete: boolean): void {
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    stream?.sink.end(complete);
  }

  #consume(bytes: number): void {
    this.#consumed += bytes;
    if (!this.#reads || this.#consumed < MAX_WINDOW / 4) return;
    this.#grant(this.#consumed);
    this.#consumed = 0;
  }

  #grant(bytes: number): void {
    const increment = Buffer.alloc(4);
    increment.writeUInt32BE(bytes);
    this.#socket.write(http2Frame(FRAME.WINDOW_UPDATE, 0, 0, increment));
  }
}

/** The header of a gRPC call, as clients send it that set a deadline. */
export function grpcHeader(path: string, deadlineSeconds: number): Buffer {
  return headerBlock({
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "127.0.0.1",
    "content-type": "application/grpc",
    te: "trailers",
    "grpc-timeout": `${deadlineSeconds}S`,
    "grpc-accept-encoding": "identity,deflate,gzip",
    "user-agent": "parley-bench",
  });
}

/** A message as gRPC sends it. */
export function grpcMessage(bytes: Uint8Array): Buffer {
  return envelope(bytes);
}
