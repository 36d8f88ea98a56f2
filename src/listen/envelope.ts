import { type DescMessage, type Message, toBinary, toJsonString } from "@bufbuild/protobuf";
import type { WriteMessage } from "../rpc/call.ts";

/** Length of the prefix of a message in gRPC: a byte of flags and the length of what follows, big-endian. */
export const PREFIX_LENGTH = 5;

/**
 * At how many bytes a chunk is full: the high-water mark of Node's HTTP/2 streams. More would only wait in memory when the
 * caller has stopped reading.
 */
const CHUNK_BYTES = 16 * 1024;

/** Room for a chunk that is nearly full, and one more message of the usual size. */
const BUFFER_BYTES = 2 * CHUNK_BYTES;

/** Serialises messages in gRPC's length-prefixed form, uncompressed. All calls of a method can share one. */
export class EnvelopeWriter {
  readonly #encode: (message: Message) => Uint8Array;
  readonly #write: WriteMessage | undefined;
  #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);

  /** @param write serialises the most common messages faster, in binary form. */
  constructor(desc: DescMessage, binary: boolean, write?: WriteMessage) {
    this.#encode = binary
      ? (message) => toBinary(desc, message)
      : (message) => Buffer.from(toJsonString(desc, message));
    this.#write = write;
  }

  /** Serialises messages until the chunk is full: nearly always all of them. Returns the chunk, and how many are in it. */
  write(messages: readonly Message[]): [chunk: Buffer, count: number] {
    let length = 0;
    let count = 0;
    for (const message of messages) {
      length = this.#append(message, length);
      count++;
      if (length >= CHUNK_BYTES) break;
    }
    const written = this.#buffer;
    if (written.length > BUFFER_BYTES) {
      // It was made for this chunk alone.
      this.#buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
      return [written.subarray(0, length), count];
    }
    const chunk = Buffer.allocUnsafe(length);
    written.copy(chunk, 0, 0, length);
    return [chunk, count];
  }

  #append(message: Message, start: number): number {
    const bodyStart = start + PREFIX_LENGTH;
    let end = this.#write?.(message, this.#buffer, bodyStart);
    if (end === undefined) {
      const body = this.#encode(message);
      end = bodyStart + body.length;
      this.#reserve(end, start);
      this.#buffer.set(body, bodyStart);
    }
    this.#buffer[start] = 0;
    this.#buffer.writeUInt32BE(end - bodyStart, start + 1);
    return end;
  }

  /** Makes room, for this chunk alone. */
  #reserve(length: number, used: number): void {
    if (length <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(length);
    this.#buffer.copy(larger, 0, 0, used);
    this.#buffer = larger;
  }
}

/**
 * The one message in the body of a request, where it is whole, uncompressed and alone, as nearly all are. Undefined: it is
 * not, and has to be read with more care.
 */
export function wholeMessage(body: Buffer, maxBytes: number): Buffer | undefined {
  if (body.length < PREFIX_LENGTH || body[0] !== 0) return undefined;
  const length = body.readUInt32BE(1);
  return length <= maxBytes && body.length === PREFIX_LENGTH + length ? body.subarray(PREFIX_LENGTH) : undefined;
}
