import { constants } from "node:http2";
import { HTTP2_PREFACE, http2Frame } from "./wire.ts";

/** Types of frames (RFC 9113, 6). */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

/** How a client begins: with the preface, and settings of which none is its own. */
export const HELLO = Buffer.concat([Buffer.from(HTTP2_PREFACE), http2Frame(FRAME.SETTINGS, 0, 0)]);

/** A header in HPACK, each field a literal that is not indexed (RFC 7541, 6.2.2). Names and values under 127 bytes. */
export function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const text = (value: string) => Buffer.concat([Buffer.of(value.length), Buffer.from(value, "latin1")]);
  return Buffer.concat(Object.entries(headers).flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]));
}

/** The header of a Connect call of Chat with JSON. */
export const chatHeader = headerBlock({
  ":method": "POST",
  ":scheme": "http",
  ":path": "/parley.v1.ChatService/Chat",
  ":authority": "parley.test",
  "content-type": "application/json",
});

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** The whole frames that a server has sent. */
export function framesOf(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let offset = 0; offset + 9 <= bytes.length; ) {
    const end = offset + 9 + bytes.readUIntBE(offset, 3);
    const [type = 0, flags = 0] = bytes.subarray(offset + 3, offset + 5);
    if (end <= bytes.length)
      frames.push({ type, flags, stream: bytes.readUInt32BE(offset + 5), payload: bytes.subarray(offset + 9, end) });
    offset = end;
  }
  return frames;
}

/** Names of the error codes of the GOAWAY and RST_STREAM frames that a server has sent. */
export function errorsOf(bytes: Buffer): { goAway: readonly string[]; reset: readonly string[] } {
  const codes = (type: number, offset: number) =>
    framesOf(bytes)
      .filter((frame) => frame.type === type)
      .map(({ payload }) => errorNames.get(payload.readUInt32BE(offset)) ?? "unknown");
  return { goAway: codes(FRAME.GOAWAY, 4), reset: codes(FRAME.RST_STREAM, 0) };
}

const errorNames = new Map(
  [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
  ].map((name) => [constants[`NGHTTP2_${name}` as "NGHTTP2_NO_ERROR"], name]),
);
