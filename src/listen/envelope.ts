import { type DescMessage, type Message, toBinary, toJsonString } from "@bufbuild/protobuf";

/** Length of the prefix of a message in gRPC: a byte of flags and the length of what follows, big-endian. */
export const PREFIX_LENGTH = 5;

/**
 * At how many bytes a chunk is full: the high-water mark of Node's HTTP/2 streams. More would only wait in memory when the
 * caller has stopped reading.
 */
const CHUNK_BYTES = 16 * 1024;

/**
 * Serialises messages in gRPC's length-prefixed form, uncompressed, into chunks of which each is written at once: nearly
 * always all messages into one.
 */
export function* encodeMessages(
  desc: DescMessage,
  messages: readonly Message[],
  binary: boolean,
): Generator<Uint8Array, undefined> {
  let bodies: Uint8Array[] = [];
  let length = 0;
  for (const message of messages) {
    const body = binary ? toBinary(desc, message) : new TextEncoder().encode(toJsonString(desc, message));
    bodies.push(body);
    length += PREFIX_LENGTH + body.length;
    if (length < CHUNK_BYTES) continue;
    yield join(bodies, length);
    bodies = [];
    length = 0;
  }
  if (length > 0) yield join(bodies, length);
}

function join(bodies: readonly Uint8Array[], length: number): Uint8Array {
  const chunk = new Uint8Array(length);
  const view = new DataView(chunk.buffer);
  let offset = 0;
  for (const body of bodies) {
    view.setUint32(offset + 1, body.length);
    chunk.set(body, offset + PREFIX_LENGTH);
    offset += PREFIX_LENGTH + body.length;
  }
  return chunk;
}
