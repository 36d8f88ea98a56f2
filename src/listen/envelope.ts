import type { DescMessage, Message } from "@bufbuild/protobuf";
import { toBinary, toJsonString } from "@bufbuild/protobuf";

/** Length of the prefix of a message in gRPC: a byte of flags and the length of what follows, big-endian. */
const PREFIX_LENGTH = 5;

/** Serialises messages into one chunk of gRPC's length-prefixed form, uncompressed. */
export function encodeMessages(desc: DescMessage, messages: readonly Message[], binary: boolean): Uint8Array {
  const bodies = messages.map((message) =>
    binary ? toBinary(desc, message) : new TextEncoder().encode(toJsonString(desc, message)),
  );
  const chunk = new Uint8Array(bodies.reduce((length, body) => length + PREFIX_LENGTH + body.length, 0));
  const view = new DataView(chunk.buffer);
  let offset = 0;
  for (const body of bodies) {
    view.setUint32(offset + 1, body.length);
    chunk.set(body, offset + PREFIX_LENGTH);
    offset += PREFIX_LENGTH + body.length;
  }
  return chunk;
}
