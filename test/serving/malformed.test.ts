import assert from "node:assert/strict";
import type { ClientHttp2Session } from "node:http2";
import { after, before, describe, test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { type Service, startService } from "../support/service.ts";
import { assertNoInnerText, assertUnharmed } from "../support/unharmed.ts";
import { allWays, bodyOf, goodMessage, outcomeOf, pathOf, type Way, ways } from "../support/ways.ts";
import { envelope, openHttp2, type Reply, sendHttp1, sendHttp2 } from "../support/wire.ts";

const LIMIT = 64 * 1024;

let service: Service;
let session: ClientHttp2Session;
before(async () => {
  service = await startService({ config: { limits: { requestBytes: LIMIT } } });
  session = openHttp2(service.url);
});
after(async () => {
  session.close();
  await service[Symbol.asyncDispose]();
});

function send(way: Way, body: Uint8Array | string, headers: Record<string, string | undefined> = {}): Promise<Reply> {
  return sendHttp2(session, { ":method": "POST", ":path": pathOf(way), ...way.headers, ...headers }, body);
}

interface Expected {
  readonly code: string;
  readonly reason: string;
  readonly domain?: string;
  /** Details besides ErrorInfo and RequestInfo. */
  readonly details?: readonly string[];
  readonly message?: RegExp;
}

const invalid = { code: "InvalidArgument", reason: "INVALID_REQUEST" };
const unimplemented = { code: "Unimplemented", reason: "NOT_IMPLEMENTED" };
const tooLarge = { code: "ResourceExhausted", reason: "REQUEST_TOO_LARGE", details: ["quotaFailure"] };

/** Asserts how a request is refused. The caller is told what is wrong, and nothing of the inside of the service. */
function assertRefused(reply: Reply, { code, reason, domain = "parley", details = [], message = /./ }: Expected): void {
  assertNoInnerText(reply);
  const told = outcomeOf(reply);
  assert.ok(typeof told === "object", `the outcome is ${told}`);
  assert.equal(told.code, code, told.message);
  assert.match(told.message, message);
  assert.equal(told.errorInfo?.reason, reason);
  assert.equal(told.errorInfo.domain, domain);
  assert.equal(told.errorInfo.metadata.retryable, "false");
  const names = Object.keys(told).filter((name) => name !== "code" && name !== "message");
  assert.deepEqual(names.sort(), ["errorInfo", "requestInfo", ...details].sort());
  assert.equal(told.requestInfo?.requestId, reply.headers["x-request-id"]);
}

/** What is wrong with a request, in every way that it can be. */
interface Malformed {
  readonly in?: (way: Way) => boolean;
  readonly body: (way: Way, good: Buffer) => Uint8Array;
  readonly headers?: (way: Way) => Record<string, string>;
  readonly expected: Expected;
}

const json = (way: Way) => way.json;
const binary = (way: Way) => !way.json;
const enveloped = (way: Way) => way.enveloped;
const compressible = (way: Way) => way.encodingHeader !== undefined;
const ofConnect = (way: Way) => way.encodingHeader === "connect-content-encoding";
const ofGrpc = (way: Way) => way.encodingHeader === "grpc-encoding" && !ofWeb(way);
const ofWeb = (way: Way) => (way.headers["content-type"] ?? "").startsWith("application/grpc-web");
const encoding = (name: string) => (way: Way) => ({ [way.encodingHeader ?? ""]: name });

function latin1(good: Buffer, from: string, to: string): Buffer {
  return Buffer.from(good.toString("latin1").replace(from, to), "latin1");
}

/** A message of JSON, whatever the RPC. */
function chatJson(way: Way, text: string): Buffer {
  return bodyOf(way, way.rpc === "Chat" ? text : `{"chat":${text}}`);
}

function nestedJson(way: Way, depth: number): Buffer {
  const content = '{"toolResult":{"toolUseId":"a","content":['.repeat(depth) + "]}}".repeat(depth);
  return chatJson(way, `{"messages":[{"role":"ROLE_USER","content":[${content}]}]}`);
}

/** A length-delimited field of protobuf. */
function field(number: number, data: Uint8Array): Buffer {
  const varint = (value: number): number[] => (value < 128 ? [value] : [(value % 128) + 128, ...varint(value >>> 7)]);
  return Buffer.concat([Buffer.from([...varint(number * 8 + 2), ...varint(data.length)]), data]);
}

/** Fields as in content.proto: ContentBlock.tool_result and ToolResultBlock.content. */
function nestedBinary(way: Way, depth: number): Buffer {
  let block: Buffer = Buffer.alloc(0);
  for (let level = 0; level < depth; level++) block = field(8, field(2, block));
  const chat = field(2, Buffer.concat([Buffer.of(8, 1), field(2, block)]));
  return bodyOf(way, way.rpc === "Chat" ? chat : field(1, chat));
}

/** A compressed message in a body. */
function compressed(way: Way, data: Uint8Array): Buffer {
  return way.enveloped ? envelope(data, { flags: 1 }) : Buffer.from(data);
}

const malformed: Record<string, Malformed> = {
  "no body": {
    in: enveloped,
    body: () => Buffer.alloc(0),
    expected: { ...unimplemented, message: /no message|missing input/ },
  },
  "no message in JSON": { in: json, body: (way) => bodyOf(way, ""), expected: { ...invalid, message: /JSON/ } },
  "text that is not UTF-8": {
    body: (way, good) => bodyOf(way, latin1(good, "hello", "he\xffoo")),
    expected: { ...invalid, message: /utf-8/ },
  },
  "a message that breaks off": {
    body: (way, good) => bodyOf(way, good.subarray(0, good.length - 4)),
    expected: invalid,
  },
  "more than the limit": {
    body: (way) => bodyOf(way, goodMessage(way, "x".repeat(LIMIT))),
    expected: { ...tooLarge, message: /65536/ },
  },
  "a length beyond the limit": {
    in: enveloped,
    body: (_, good) => envelope(good, { length: LIMIT + 1 }),
    expected: { ...tooLarge, message: /larger than 65536 bytes/ },
  },
  "a length of 4 GiB": {
    in: enveloped,
    body: (_, good) => envelope(good, { length: 0xffffffff }),
    expected: tooLarge,
  },
  "a length that is too short": {
    in: enveloped,
    body: (_, good) => envelope(good, { length: good.length - 3 }),
    expected: invalid,
  },
  "a length that is too long": {
    in: enveloped,
    body: (_, good) => envelope(good, { length: good.length + 3 }),
    expected: { ...invalid, message: /incomplete envelope/ },
  },
  "an envelope that breaks off": {
    in: enveloped,
    body: (_, good) => envelope(good).subarray(0, 3),
    expected: { ...invalid, message: /incomplete envelope/ },
  },
  "two messages": {
    in: enveloped,
    body: (_, good) => Buffer.concat([envelope(good), envelope(good)]),
    expected: { ...unimplemented, message: /more than one|extra/ },
  },
  "nothing but the end of a stream": {
    in: ofConnect,
    body: (_, good) => envelope(good, { flags: 2 }),
    expected: unimplemented,
  },
  "nothing but trailers": {
    in: ofWeb,
    body: () => envelope("a: b\r\n", { flags: 0x80 }),
    expected: unimplemented,
  },
  "a compressed message without the name of a compression": {
    in: enveloped,
    body: (_, good) => envelope(gzipSync(good), { flags: 1 }),
    expected: { ...invalid, message: /compress/ },
  },
  "a message that says it is compressed, and is not": {
    in: compressible,
    body: (way, good) => compressed(way, good),
    headers: encoding("gzip"),
    expected: { ...invalid, message: /decompression failed/ },
  },
  "compressed data that break off": {
    in: compressible,
    body: (way, good) => compressed(way, gzipSync(good).subarray(0, -6)),
    headers: encoding("gzip"),
    expected: { ...invalid, message: /decompression failed/ },
  },
  "compressed data that break off, of brotli": {
    in: compressible,
    body: (way, good) => compressed(way, brotliCompressSync(good).subarray(0, -6)),
    headers: encoding("br"),
    expected: { ...invalid, message: /decompression failed/ },
  },
  "little that becomes more than the limit when it is decompressed": {
    in: compressible,
    body: (way) => compressed(way, gzipSync(Buffer.alloc(50_000_000, " "))),
    headers: encoding("gzip"),
    expected: { ...tooLarge, message: /larger than 65536 bytes/ },
  },
  "the same with brotli": {
    in: compressible,
    body: (way) => compressed(way, brotliCompressSync(Buffer.alloc(10_000_000, " "))),
    headers: encoding("br"),
    expected: tooLarge,
  },
  "an unknown compression": {
    in: compressible,
    body: (way, good) => bodyOf(way, good),
    headers: encoding("zstd"),
    expected: { ...unimplemented, message: /"zstd": supported encodings are gzip,br/ },
  },
  "JSON nested deeper than messages may be": { in: json, body: (way) => nestedJson(way, 1_000), expected: invalid },
  "protobuf nested deeper than messages may be": {
    in: binary,
    body: (way) => nestedBinary(way, 5_000),
    expected: { ...invalid, message: /depth/ },
  },
  "groups of protobuf that have no end": {
    in: binary,
    body: (way) => bodyOf(way, Buffer.alloc(30_000, 0x3b)),
    expected: { ...invalid, message: /depth/ },
  },
  "a field with the number 0": { in: binary, body: (way) => bodyOf(way, Buffer.of(0, 1)), expected: invalid },
  "a number that has no end": { in: binary, body: (way) => bodyOf(way, Buffer.alloc(30, 0xff)), expected: invalid },
};

for (const text of [
  "7",
  "[]",
  "{",
  '{"messages":{}}',
  '{"messages":[null]}',
  '{"messages":[{"role":"ROLE_NONE","text":"a"}]}',
  '{"mesages":[]}',
  '{"messages":[],"messages":[]}',
  '{"__proto__":{}}',
  '{"maxTokens":1e99}',
  '{"maxTokens":1.5}',
  '{"maxTokens":"x"}',
  '{"messages":[{"role":"ROLE_USER","content":[{"image":{"source":{"data":"%"}}}]}]}',
]) {
  malformed[`JSON such as ${text}`] = { in: json, body: (way) => chatJson(way, text), expected: invalid };
}

for (const [name, row] of Object.entries(malformed)) {
  test(`${name} is refused`, async () => {
    for (const [wayName, way] of allWays) {
      if (row.in?.(way) === false) continue;
      const reply = await send(way, row.body(way, Buffer.from(goodMessage(way))), row.headers?.(way));
      try {
        assertRefused(reply, row.expected);
      } catch (error) {
        throw new Error(wayName, { cause: error });
      }
    }
  });
}

describe("what is unusual but right is answered", () => {
  const right: Record<string, Malformed["body"]> = {
    "fields that the proto does not have": (way, good) =>
      bodyOf(way, way.json ? good : Buffer.concat([good, field(1_999, Buffer.from("x"))])),
    "flags that have no meaning yet": (way, good) => (way.enveloped ? envelope(good, { flags: 0x44 }) : good),
  };
  for (const [name, body] of Object.entries(right)) {
    test(name, async () => {
      for (const [wayName, way] of allWays) {
        const reply = await send(way, body(way, Buffer.from(goodMessage(way))));
        assert.equal(outcomeOf(reply), undefined, wayName);
      }
    });
  }
});

describe("JSON 100,000 deep", () => {
  let roomy: Service;
  before(async () => {
    roomy = await startService();
  });
  after(() => roomy[Symbol.asyncDispose]());

  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  const user = { role: "ROLE_USER", text: "hello" };
  const toolUse = { toolUse: { id: "a", name: "b", inputJson: `{"a":${deep}}` } };
  const requests: Record<string, { body: (way: Way) => Buffer; expected: Expected }> = {
    "is refused where messages nest": { body: (way) => nestedJson(way, 100_000), expected: invalid },
    "is refused where messages do not": { body: (way) => chatJson(way, `{"messages":${deep}}`), expected: invalid },
    "is refused where nothing is": { body: (way) => chatJson(way, `{"nothing":${deep}}`), expected: invalid },
    "is refused as a text of JSON that is no object": {
      body: (way) =>
        chatJson(way, JSON.stringify({ messages: [user], tools: [{ custom: { name: "a", inputSchemaJson: deep } }] })),
      expected: { ...invalid, details: ["badRequest"] },
    },
    "is Claude's to refuse in what Claude reads": {
      body: (way) =>
        chatJson(way, JSON.stringify({ messages: [user, { role: "ROLE_ASSISTANT", content: [toolUse] }] })),
      expected: { ...invalid, reason: "INVALID_REQUEST_ERROR", domain: "api.anthropic.com", details: ["badRequest"] },
    },
  };
  for (const [name, { body, expected }] of Object.entries(requests)) {
    test(name, async () => {
      const other = openHttp2(roomy.url);
      for (const [, way] of allWays.filter(([, { json }]) => json)) {
        const headers = { ":method": "POST", ":path": pathOf(way), ...way.headers };
        assertRefused(await sendHttp2(other, headers, body(way)), expected);
      }
      other.close();
      await assertUnharmed(roomy);
    });
  }
});

test("a refusal that is long enough to be compressed has its details, too", async () => {
  const accepted = { "accept-encoding": "gzip", "grpc-accept-encoding": "gzip", "connect-accept-encoding": "gzip" };
  for (const [, way] of allWays.filter(([, { json }]) => json)) {
    assertRefused(await send(way, bodyOf(way, `{"${"x".repeat(3_000)}":1}`), accepted), invalid);
  }
});

describe("a deadline that is none is refused", () => {
  for (const value of ["", "abc", "-1", "1.5", "1x", "5 S", "99999999999", "é"]) {
    test(JSON.stringify(value), async () => {
      for (const [, way] of allWays) {
        const isGrpc = ofGrpc(way) || ofWeb(way);
        const reply = await send(way, bodyOf(way, goodMessage(way)), {
          [isGrpc ? "grpc-timeout" : "connect-timeout-ms"]: value,
        });
        assertRefused(reply, { ...invalid, message: /timeout/ });
      }
    });
  }
});

describe("a request that no protocol has is refused by HTTP, and recorded as the caller's fault", () => {
  const way = ways["Connect with JSON"];
  const refusals: Record<string, { headers: Record<string, string | undefined>; status: number; code: string }> = {
    "no content type": { headers: { "content-type": undefined }, status: 415, code: "UNIMPLEMENTED" },
    "another content type": { headers: { "content-type": "text/plain" }, status: 415, code: "UNIMPLEMENTED" },
    "gRPC in another form": { headers: { "content-type": "application/grpc+xml" }, status: 415, code: "UNIMPLEMENTED" },
    "gRPC-Web in base64": {
      headers: { "content-type": "application/grpc-web-text" },
      status: 415,
      code: "UNIMPLEMENTED",
    },
    "JSON that is not UTF-8 by its type": {
      headers: { "content-type": "application/json; charset=latin1" },
      status: 415,
      code: "UNIMPLEMENTED",
    },
    "a method other than POST": { headers: { ":method": "PUT" }, status: 405, code: "UNIMPLEMENTED" },
    "a method that there is none of": { headers: { ":method": "BREW" }, status: 405, code: "UNIMPLEMENTED" },
    "a GET of what has side effects": { headers: { ":method": "GET" }, status: 405, code: "UNIMPLEMENTED" },
    "an authority that is none": { headers: { ":authority": "[::1" }, status: 400, code: "INVALID_ARGUMENT" },
    "an authority with a broken escape": { headers: { ":authority": "%" }, status: 400, code: "INVALID_ARGUMENT" },
  };
  for (const [name, { headers, status, code }] of Object.entries(refusals)) {
    test(name, async () => {
      const id = name.replaceAll(" ", "-");
      const reply = await send(way, bodyOf(way, goodMessage(way)), { "x-request-id": id, ...headers });
      assert.equal(reply.status, status);
      assertNoInnerText(reply);
      const isLine = (line: Record<string, unknown>) => line.call === id;
      while (!service.logs.some(isLine)) await service.nextCall();
      const line = service.logs.find(isLine);
      assert.deepEqual({ code: line?.code, level: line?.level }, { code, level: "info" });
    });
  }

  test("HTTP/1.1 without a host", async () => {
    const { status } = await sendHttp1(service.server.port, "GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert.equal(status, 400);
  });
});

describe("a target that is no RPC is UNIMPLEMENTED", () => {
  const way = ways["Connect with JSON"];
  const good = "/parley.v1.ChatService/Chat";
  const paths = ["/", "//", "/%", "/%zz", "/%00", "//[/x", "/é", `${good}%`, `${good}/`, `${good}#x`, `/..${good}`];
  for (const path of [...paths, `/${"x".repeat(20_000)}`]) {
    test(path.slice(0, 60), async () => {
      assertRefused(await send(way, "{}", { ":path": path }), { ...unimplemented, message: /there is no RPC/ });
    });
  }
});

test("a body that nobody reads holds no call", { timeout: 30_000 }, async () => {
  const large = Buffer.alloc(4 * LIMIT);
  const way = ways.Connect;
  for (const headers of [{ ":path": "/none" }, { "content-type": "text/plain" }, { ":method": "OPTIONS" }]) {
    assert.notEqual((await send(way, large, headers)).status, 200);
  }
  await assertUnharmed(service);
});

describe("a GET with a broken query is refused", () => {
  const queries: Record<string, Expected | number> = {
    "": 415,
    "?message={}": 415,
    "?encoding=xml&message={}": 415,
    "?encoding=json": invalid,
    "?encoding=json&message={": invalid,
    "?encoding=json&message=%": invalid,
    "?encoding=json&message=%ff": invalid,
    '?encoding=json&message={"pageSize":"x"}': invalid,
    "?encoding=json&message={}&compression=gzip": invalid,
    "?encoding=json&message={}&compression=zstd": unimplemented,
    "?encoding=proto&base64=1&message=!!!": invalid,
    "?encoding=proto&base64=1&message=abc": invalid,
    "?encoding=proto&message=%00%01": invalid,
    "?encoding=proto&base64=1&compression=gzip&message=H4sI": invalid,
  };
  for (const [query, expected] of Object.entries(queries)) {
    test(query || "no query", async () => {
      const headers = { ":method": "GET", ":path": `/parley.v1.ModelService/ListModels${query}` };
      const reply = await sendHttp2(session, headers);
      if (typeof expected === "number") assert.equal(reply.status, expected);
      else assertRefused(reply, expected);
    });
  }
});

test("after all of them the service is unharmed", { timeout: 30_000 }, () => assertUnharmed(service));
