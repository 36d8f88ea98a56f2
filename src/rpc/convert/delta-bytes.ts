import type { Message } from "@bufbuild/protobuf";
import {
  ContentBlockDeltaSchema,
  type StreamChatResponse,
  StreamChatResponseSchema,
} from "../../../gen/parley/v1/chat_service_pb.js";

const VARINT = 0;
const LENGTH_DELIMITED = 2;

/** Tags of the fields of a delta (Protocol Buffers, Encoding): all numbers are below 16, so a tag is one byte. */
const tag = (field: { readonly number: number }, wireType: number) => (field.number << 3) | wireType;
const SEQUENCE = tag(StreamChatResponseSchema.field.sequence, VARINT);
const DELTA = tag(StreamChatResponseSchema.field.contentBlockDelta, LENGTH_DELIMITED);
const INDEX = tag(ContentBlockDeltaSchema.field.index, VARINT);
const texts = ContentBlockDeltaSchema.field;
const TEXT_TAGS: Readonly<Record<string, number | undefined>> = {
  text: tag(texts.text, LENGTH_DELIMITED),
  partialJson: tag(texts.partialJson, LENGTH_DELIMITED),
  thinking: tag(texts.thinking, LENGTH_DELIMITED),
  signature: tag(texts.signature, LENGTH_DELIMITED),
};

/** The most bytes that a delta has besides its text: four tags, and four numbers of five bytes at the most. */
const MAX_OVERHEAD = 4 + 4 * 5;

/**
 * Serialises a StreamChatResponse that is a plain delta, as nearly all are, to the same bytes as `toBinary`, which takes
 * five times as long and two buffers for each.
 *
 * @returns the position after it. Undefined: it is something else, or there is no room for it.
 */
export function writeDelta(message: Message, target: Buffer, start: number): number | undefined {
  const { sequence, event, extraJson, $unknown } = message as StreamChatResponse;
  if (event.case !== "contentBlockDelta" || extraJson !== "" || $unknown !== undefined) return undefined;
  const { index, delta } = event.value;
  const textTag = TEXT_TAGS[delta.case ?? ""];
  if (textTag === undefined || typeof delta.value !== "string") return undefined;
  if (!isPlain(sequence) || !isPlain(index)) return undefined;
  const text = delta.value;
  const textBytes = Buffer.byteLength(text);
  if (start + MAX_OVERHEAD + textBytes > target.length) return undefined;

  const indexBytes = index === 0 ? 0 : 1 + varintBytes(index);
  let at = start;
  if (sequence !== 0) {
    target[at++] = SEQUENCE;
    at = writeVarint(target, at, sequence);
  }
  target[at++] = DELTA;
  at = writeVarint(target, at, indexBytes + 1 + varintBytes(textBytes) + textBytes);
  if (index !== 0) {
    target[at++] = INDEX;
    at = writeVarint(target, at, index);
  }
  target[at++] = textTag;
  at = writeVarint(target, at, textBytes);
  return at + target.write(text, at);
}

/** Whether a number is an int32 that is not negative: others have another form, or none. */
function isPlain(value: number): boolean {
  return value >= 0 && (value | 0) === value;
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest >>>= 7) bytes++;
  return bytes;
}

function writeVarint(target: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) target[at++] = (rest & 0x7f) | 0x80;
  target[at++] = rest;
  return at;
}
