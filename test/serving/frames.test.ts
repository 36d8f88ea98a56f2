import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Role } from "../../gen/parley/v1/content_pb.js";
import {
  ACK,
  chatHeader,
  END_HEADERS,
  END_STREAM,
  errorsOf,
  FRAME,
  framesOf,
  HELLO,
  headerBlock,
} from "../support/frames.ts";
import { type Service, startService } from "../support/service.ts";
import { assertNothingLeft, assertUnharmed } from "../support/unharmed.ts";
import { http2Frame, sendRaw } from "../support/wire.ts";

/** What should end but does not fails. */
const PATIENCE = { timeout: 60_000 };

const limits = { headerTime: 1_000, requestTime: 2_000, idleTime: 1_000, keepAlive: 2_000 };
let service: Service;
before(async () => {
  service = await startService({ config: { limits } });
});
after(() => service[Symbol.asyncDispose]());

const send = (...frames: Buffer[]) => sendRaw(service.server.port, Buffer.concat([HELLO, ...frames]));
const open = (stream: number) => http2Frame(FRAME.HEADERS, END_HEADERS, stream, chatHeader);
const good = Buffer.from('{"messages":[{"role":"ROLE_USER","text":"hello"}]}');
const uint32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const setting = (name: number, value: number) => Buffer.concat([Buffer.of(0, name), uint32(value)]);

describe("frames that break the rules end the connection", { ...PATIENCE, concurrency: true }, () => {
  const broken: Record<string, { frames: Buffer[]; error: string }> = {
    "a body before its header": { frames: [http2Frame(FRAME.DATA, 0, 1, "x")], error: "PROTOCOL_ERROR" },
    "a body of no stream": { frames: [http2Frame(FRAME.DATA, 0, 0, "x")], error: "PROTOCOL_ERROR" },
    "a stream with a server's number": { frames: [open(2)], error: "PROTOCOL_ERROR" },
    "a header that goes on nowhere": { frames: [http2Frame(FRAME.CONTINUATION, 0, 1, "x")], error: "PROTOCOL_ERROR" },
    "another frame within a header": {
      frames: [http2Frame(FRAME.HEADERS, 0, 1, chatHeader), http2Frame(FRAME.PING, 0, 0, "12345678")],
      error: "PROTOCOL_ERROR",
    },
    "a push by the client": {
      frames: [http2Frame(FRAME.PUSH_PROMISE, END_HEADERS, 1, Buffer.concat([uint32(2), chatHeader]))],
      error: "PROTOCOL_ERROR",
    },
    "the end of a stream that never was": {
      frames: [http2Frame(FRAME.RST_STREAM, 0, 7, uint32(8))],
      error: "PROTOCOL_ERROR",
    },
    "a window that grows by nothing": {
      frames: [http2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0))],
      error: "PROTOCOL_ERROR",
    },
    "a window that grows beyond all bounds": {
      frames: [http2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0x7fffffff))],
      error: "FLOW_CONTROL_ERROR",
    },
    "settings of half a setting": { frames: [http2Frame(FRAME.SETTINGS, 0, 0, "123")], error: "FRAME_SIZE_ERROR" },
    "settings of a stream": { frames: [http2Frame(FRAME.SETTINGS, 0, 1)], error: "PROTOCOL_ERROR" },
    "settings that are acknowledged with more settings": {
      frames: [http2Frame(FRAME.SETTINGS, ACK, 0, setting(3, 1))],
      error: "FRAME_SIZE_ERROR",
    },
    "a setting that cannot be": { frames: [http2Frame(FRAME.SETTINGS, 0, 0, setting(5, 1))], error: "PROTOCOL_ERROR" },
    "a PING that is too short": { frames: [http2Frame(FRAME.PING, 0, 0, "123")], error: "FRAME_SIZE_ERROR" },
    "a frame above the size that is allowed": {
      frames: [open(1), http2Frame(FRAME.DATA, 0, 1, Buffer.alloc(16_385))],
      error: "FRAME_SIZE_ERROR",
    },
    "more padding than frame": {
      frames: [open(1), http2Frame(FRAME.DATA, 8, 1, Buffer.of(200, 1))],
      error: "PROTOCOL_ERROR",
    },
    "a header that is no HPACK": {
      frames: [http2Frame(FRAME.HEADERS, END_HEADERS, 1, Buffer.alloc(50, 0xff))],
      error: "COMPRESSION_ERROR",
    },
    "a header without end": {
      frames: [
        http2Frame(FRAME.HEADERS, 0, 1, chatHeader),
        ...Array.from({ length: 100 }, () => http2Frame(FRAME.CONTINUATION, 0, 1, headerBlock({ x: "y".repeat(100) }))),
      ],
      error: "INTERNAL_ERROR",
    },
  };
  for (const [name, { frames, error }] of Object.entries(broken)) {
    test(name, async () => {
      const { goAway } = errorsOf(await send(...frames));
      assert.ok(goAway.includes(error), `GOAWAY with ${goAway}`);
    });
  }

  test("a preface that breaks off is waited for no longer than for a header", async () => {
    await sendRaw(service.server.port, "PRI * HTTP/2.0\r\n");
  });

  test("so is a frame that breaks off, also after the connection was idle", async () => {
    await Promise.all([
      send(open(1).subarray(0, 20)),
      send(open(1), http2Frame(FRAME.DATA, END_STREAM, 1, good).subarray(0, 20)),
    ]);
  });
});

describe("headers that break the rules end the stream", { ...PATIENCE, concurrency: true }, () => {
  const path = "/parley.v1.ChatService/Chat";
  const pseudo = { ":method": "POST", ":scheme": "http", ":path": path, ":authority": "parley.test" };
  const broken: Record<string, Record<string, string>> = {
    "no method": { ":scheme": "http", ":path": path },
    "no path": { ":method": "POST", ":scheme": "http" },
    "an empty path": { ...pseudo, ":path": "" },
    "a pseudo-header that there is none of": { ...pseudo, ":colour": "red" },
    "a pseudo-header after a header": { a: "b", ...pseudo },
    "a name in capitals": { ...pseudo, "Content-Type": "application/json" },
    "a header of HTTP/1.1": { ...pseudo, connection: "close" },
    "an authority with a space": { ...pseudo, ":authority": "a b" },
    "a length that is no number": { ...pseudo, "content-length": "abc" },
  };
  for (const [name, headers] of Object.entries(broken)) {
    test(name, async () => {
      const bytes = await send(
        http2Frame(FRAME.HEADERS, END_HEADERS, 1, headerBlock(headers)),
        http2Frame(FRAME.DATA, END_STREAM, 1, good),
      );
      const { reset, goAway } = errorsOf(bytes);
      assert.ok([...reset, ...goAway].includes("PROTOCOL_ERROR"), `${reset}, ${goAway}`);
      assert.ok(!framesOf(bytes).some(({ type }) => type === FRAME.DATA), "there is no answer");
    });
  }

  test("a body of another length than was said, which is recorded as the caller's doing", async () => {
    for (const length of ["3", "999"]) {
      const id = `length-${length}`;
      const header = Buffer.concat([chatHeader, headerBlock({ "content-length": length, "x-request-id": id })]);
      const bytes = await send(
        http2Frame(FRAME.HEADERS, END_HEADERS, 1, header),
        http2Frame(FRAME.DATA, END_STREAM, 1, good),
      );
      const { reset, goAway } = errorsOf(bytes);
      assert.ok(reset.includes("PROTOCOL_ERROR") || goAway.includes("INTERNAL_ERROR"), `${reset}, ${goAway}`);
      const isLine = (line: Record<string, unknown>) => line.call === id;
      while (!service.logs.some(isLine)) await service.nextCall();
      assert.equal(service.logs.find(isLine)?.code, "CANCELLED");
    }
  });
});

test("frames of kinds that there are none of are passed over", PATIENCE, async () => {
  const bytes = await send(http2Frame(0x77, 0xff, 9, "??"), open(1), http2Frame(FRAME.DATA, END_STREAM, 1, good));
  assert.match(bytes.toString("latin1"), /You said/);
});

describe("a flood ends the connection, and disturbs no other", PATIENCE, () => {
  const floods: Record<string, { flood: Buffer; errors: readonly string[] }> = {
    "of PING": {
      flood: Buffer.concat(Array<Buffer>(60_000).fill(http2Frame(FRAME.PING, 0, 0, "12345678"))),
      errors: ["INTERNAL_ERROR"],
    },
    "of SETTINGS": {
      flood: Buffer.concat(Array<Buffer>(200).fill(http2Frame(FRAME.SETTINGS, 0, 0, setting(3, 100)))),
      errors: ["ENHANCE_YOUR_CALM"],
    },
    "of calls that are cancelled at once": {
      flood: Buffer.concat(
        Array.from({ length: 20_000 }, (_, index) => [
          open(index * 2 + 1),
          http2Frame(FRAME.RST_STREAM, 0, index * 2 + 1, uint32(8)),
        ]).flat(),
      ),
      // A machine that is busy is not fast enough for a flood: then the connection ends for being idle.
      errors: ["INTERNAL_ERROR", "NO_ERROR"],
    },
    "of empty frames": {
      flood: Buffer.concat([open(1), ...Array<Buffer>(5_000).fill(http2Frame(FRAME.DATA, 0, 1))]),
      errors: ["INTERNAL_ERROR"],
    },
  };
  for (const [name, { flood, errors }] of Object.entries(floods)) {
    test(name, async () => {
      await using flooded = await startService({ config: { limits: { idleTime: 2_000 } } });
      const other = flooded.chat.chat({ messages: [{ role: Role.USER, text: "hello" }] });
      const bytes = await sendRaw(flooded.server.port, HELLO, flood);
      await other;
      // Bytes that are not read when a connection is closed can take the GOAWAY with them.
      const { goAway } = errorsOf(bytes);
      assert.ok(goAway.length === 0 || goAway.some((error) => errors.includes(error)), String(goAway));
      await assertUnharmed(flooded);
    });
  }
});

test("after all of them the service is unharmed", PATIENCE, async () => {
  await service.chat.chat({ messages: [{ role: Role.USER, text: "hello" }] });
  await assertNothingLeft(service);
});
