import { type DescMessage, type Message, toBinary, toJsonString } from "@bufbuild/protobuf";

/** Length of the prefix of a message in gRPC: a byte of flags and the length of what follows, big-endian. */
export const PREFIX_LENGTH = 5;

/**
 * At how many bytes a chunk is full: the high-water mark of Node's HTTP/2 streams. More would only wait in memory when the
 * caller has stopped reading.
 */
const CHUNK_BYTES = 16 * 1024;

/** Serialises a message. */
export type MessageEncoder = (message: Message) => Uint8Array;

export function messageEncoder(desc: DescMessage, binary: boolean): MessageEncoder {
  return binary ? (message) => toBinary(desc, message) : (message) => Buffer.from(toJsonString(desc, message));
}

/**
 * Serialises messages in gRPC's length-prefixed form, uncompressed, until the chunk is full: nearly always all of them.
 *
 * @returns the chunk and how many messages are in it.
 */
export function writeEnvelopes(messages: readonly Message[], encode: MessageEncoder): [chunk: Buffer, taken: number] {
  const bodies: Uint8Array[] = [];
  let length = 0;
  for (const message of messages) {
    const body = encode(message);
    bodies.push(body);
    length += PREFIX_LENGTH + body.length;
    if (length >= CHUNK_BYTES) break;
  }
  const chunk = Buffer.allocUnsafe(length);
  let offset = 0;
  for (const body of bodies) {
    chunk[offset] = 0;
    chunk.writeUInt32BE(body.length, offset + 1);
    chunk.set(body, offset + PREFIX_LENGTH);
    offset += PREFIX_LENGTH + body.length;
  }
  return [chunk, bodies.length];
}

/**
 * The one message of a request, where it arrived whole, uncompressed and alone, as nearly all do. Undefined: it did not, and
 * has to be read with more care.
 */
export function wholeMessage(chunks: readonly Buffer[], maxBytes: number): Buffer | undefined {
  const [first] = chunks;
  if (first === undefined || first.length < PREFIX_LENGTH || first[0] !== 0) return undefined;
  const length = first.readUInt32BE(1);
  if (length > maxBytes) return undefined;
  const bytes = chunks.length === 1 ? first : Buffer.concat(chunks);
  return bytes.length === PREFIX_LENGTH + length ? bytes.subarray(PREFIX_LENGTH) : undefined;
}
