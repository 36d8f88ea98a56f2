import assert from "node:assert/strict";
import { constants } from "node:http2";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { StreamChatRequestSchema, StreamChatResponseSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { chatHeader, END_HEADERS, FRAME, HELLO } from "../support/frames.ts";
import { type Service, startService } from "../support/service.ts";
import { activeCalls } from "../support/unharmed.ts";
import { envelope, http2Frame, openHttp2, sendHttp2 } from "../support/wire.ts";

const script: Script = {
  anyOrder: true,
  steps: [
    { times: 50, expect: { contains: "hello" }, respond: { content: [{ text: "Hello, line one\nand two" }] } },
    { times: 50, expect: { contains: "break" }, respond: { content: [{ text: "Broken" }] }, faults: { cutAfter: 3 } },
  ],
};

let service: Service;
before(async () => {
  service = await startService({ script, config: { server: { corsOrigins: ["https://app.example"] } } });
});
after(() => service[Symbol.asyncDispose]());

const chat = (text: string) => JSON.stringify({ messages: [{ role: "ROLE_USER", text }] });
const streamed = (text: string) => JSON.stringify({ chat: { messages: [{ role: "ROLE_USER", text }] } });

function post(
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<Response> {
  const type = { "content-type": "application/json" };
  return fetch(`${service.url}/parley.v1.${path}`, { method: "POST", body, headers: { ...type, ...headers } });
}

describe("plain JSON over HTTP/1.1", () => {
  test("a request typed by hand is answered", async () => {
    const response = await post("ChatService/Chat", chat("hello"));
    assert.equal(response.status, 200);
    const { content } = (await response.json()) as { content: unknown };
    assert.deepEqual(content, [{ text: { text: "Hello, line one\nand two" } }]);
  });

  test("a method without side effects is answered to a GET", async () => {
    const query = new URLSearchParams({ encoding: "json", message: JSON.stringify({ pageSize: 1 }) });
    const response = await fetch(`${service.url}/parley.v1.ModelService/ListModels?${query}`);
    assert.equal(response.status, 200);
    assert.equal(((await response.json()) as { models: unknown[] }).models.length, 1);
  });

  for (const [name, method, type, status, message] of [
    ["a method that is not POST", "PUT", "application/json", 405, /use POST/],
    ["a form, as curl -d sends it by default", "POST", "application/x-www-form-urlencoded", 415, /application\/json/],
  ] as const) {
    test(`${name} is told what to do`, async () => {
      const response = await fetch(`${service.url}/parley.v1.ChatService/Chat`, {
        method,
        headers: { "content-type": type },
        body: chat("hello"),
      });
      assert.equal(response.status, status);
      assert.equal(response.headers.get("allow"), status === 405 ? "POST" : null);
      assert.ok(response.headers.get("x-request-id"));
      const error = (await response.json()) as { code: string; message: string; details: unknown[] };
      assert.equal(error.code, "unimplemented");
      assert.match(error.message, message);
      assert.ok(error.details.length > 0);
    });
  }

  const refusals: Record<
    string,
    { body: string; path?: string; status: number; code: string; message: RegExp; field?: string }
  > = {
    "a name that the proto does not have": {
      body: '{"mesages":[]}',
      status: 400,
      code: "invalid_argument",
      message: /"mesages" is unknown/,
    },
    "a value of another type": {
      body: '{"messages":[{"role":"ROLE_USER","text":7}]}',
      status: 400,
      code: "invalid_argument",
      message: /messages?.*text|text.*7/i,
    },
    "a value that an enum does not have": {
      body: '{"messages":[{"role":"user","text":"a"}]}',
      status: 400,
      code: "invalid_argument",
      message: /"user", but one of ROLE_USER, ROLE_ASSISTANT, ROLE_SYSTEM is expected$/,
    },
    "a text in the place of a block": {
      body: '{"messages":[{"role":"ROLE_USER","content":[{"text":"hello"}]}]}',
      status: 400,
      code: "invalid_argument",
      message: /TextBlock from JSON: "hello", but an object is expected, which can have text, citations$/,
    },
    "no messages": {
      body: "{}",
      status: 400,
      code: "invalid_argument",
      message: /^messages: /,
      field: "messages",
    },
    "text and content at once": {
      body: '{"messages":[{"role":"ROLE_USER","text":"a","content":[{"text":{"text":"b"}}]}]}',
      status: 400,
      code: "invalid_argument",
      message: /^messages\[0\]: set exactly one of content and text/,
      field: "messages[0]",
    },
    "what is not JSON": { body: "{", status: 400, code: "invalid_argument", message: /JSON/ },
    "a path that there is none of": {
      body: "{}",
      path: "ChatService/Shout",
      status: 404,
      code: "unimplemented",
      message: /there is no RPC \/parley\.v1\.ChatService\/Shout/,
    },
  };
  for (const [name, { body, path = "ChatService/Chat", status, code, message, field }] of Object.entries(refusals)) {
    test(`${name} is refused with a reason`, async () => {
      const response = await post(path, body);
      assert.equal(response.status, status);
      const error = (await response.json()) as {
        code: string;
        message: string;
        details: { type: string; debug: Record<string, unknown> }[];
      };
      assert.equal(error.code, code);
      assert.match(error.message, message);
      const info = error.details.find(({ type }) => type === "google.rpc.ErrorInfo")?.debug;
      assert.equal(info?.domain, "parley");
      assert.equal(info?.reason, code === "unimplemented" ? "NOT_IMPLEMENTED" : "INVALID_REQUEST");
      assert.ok(error.details.some(({ type }) => type === "google.rpc.RequestInfo"));
      if (field === undefined) return;
      const badRequest = error.details.find(({ type }) => type === "google.rpc.BadRequest")?.debug;
      const violations = Object(badRequest).fieldViolations as { field: string }[];
      assert.equal(violations[0]?.field, field);
    });
  }

  test("bytes that are not UTF-8 are refused", async () => {
    const body = Buffer.concat([
      Buffer.from('{"messages":[{"role":"ROLE_USER","text":"'),
      Buffer.of(0xff),
      Buffer.from('"}]}'),
    ]);
    const response = await post("ChatService/Chat", body);
    assert.equal(response.status, 400);
  });
});

/** The events of a `text/event-stream`, by a parser of its own. */
function events(text: string): { event: string; data: unknown }[] {
  return text
    .split("\n\n")
    .filter((block) => block !== "")
    .map((block) => {
      const field = (name: string) =>
        block
          .split("\n")
          .filter((line) => line.startsWith(`${name}: `))
          .map((line) => line.slice(name.length + 2))
          .join("\n");
      return { event: field("event"), data: JSON.parse(field("data")) as unknown };
    });
}

describe("Server-Sent Events", () => {
  test("a stream is one event a message", async () => {
    const response = await post("ChatService/StreamChat", streamed("hello"), { accept: "text/event-stream" });
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
    assert.equal(response.headers.get("x-accel-buffering"), "no");
    const received = events(await response.text());
    assert.deepEqual(
      received.map(({ data }) => (data as { sequence: number }).sequence),
      received.map((_, index) => index + 1),
    );
    assert.ok("messageStop" in Object(received.at(-1)?.data));
  });

  test("a failure in the middle is an event error, with the JSON that Connect has for it", async () => {
    const response = await post("ChatService/StreamChat", streamed("break"), { accept: "text/event-stream" });
    const received = events(await response.text());
    const last = received.at(-1);
    assert.ok(received.length > 1);
    assert.equal(last?.event, "error");
    const error = last?.data as { code: string; details: { type: string; debug: { reason?: string } }[] };
    assert.equal(error.code, "unavailable");
    assert.equal(error.details[0]?.debug.reason, "UPSTREAM_STREAM_TRUNCATED");
  });

  test("a request that is refused is an event error, too", async () => {
    for (const body of ["{}", '{"chat":7}', "["]) {
      const response = await post("ChatService/StreamChat", body, { accept: "text/event-stream" });
      const [only] = events(await response.text());
      assert.equal(only?.event, "error");
      const error = only.data as { code: string; details: { type: string; debug: { reason?: string } }[] };
      assert.equal(error.code, "invalid_argument");
      assert.equal(error.details.find(({ type }) => type === "google.rpc.ErrorInfo")?.debug.reason, "INVALID_REQUEST");
    }
  });
});

describe("gRPC-Web as a browser speaks it", () => {
  test("messages and trailers come in one body, by fetch over HTTP/1.1", async () => {
    const message = toBinary(
      StreamChatRequestSchema,
      create(StreamChatRequestSchema, { chat: { messages: [{ role: Role.USER, text: "hello" }] } }),
    );
    const frame = Buffer.alloc(5 + message.length);
    frame.writeUInt32BE(message.length, 1);
    frame.set(message, 5);
    const response = await post("ChatService/StreamChat", frame, {
      "content-type": "application/grpc-web+proto",
      "x-grpc-web": "1",
      origin: "https://app.example",
    });
    assert.equal(response.headers.get("access-control-allow-origin"), "https://app.example");
    const body = Buffer.from(await response.arrayBuffer());
    const messages = [];
    let trailer = "";
    for (let offset = 0; offset < body.length; ) {
      const length = body.readUInt32BE(offset + 1);
      const data = body.subarray(offset + 5, offset + 5 + length);
      if (body[offset] === 0x80) trailer = data.toString();
      else messages.push(fromBinary(StreamChatResponseSchema, data));
      offset += 5 + length;
    }
    assert.match(trailer, /grpc-status: 0/);
    assert.equal(messages.at(-1)?.event.case, "messageStop");
  });
});

describe("CORS", () => {
  const preflight = (origin: string) =>
    fetch(`${service.url}/parley.v1.ChatService/Chat`, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-mine",
      },
    });

  test("an origin that is allowed may call", async () => {
    const response = await preflight("https://app.example");
    assert.equal(response.status, 204);
    assert.equal(response.headers.get("access-control-allow-origin"), "https://app.example");
    assert.match(response.headers.get("access-control-allow-methods") ?? "", /POST/);
    assert.equal(response.headers.get("access-control-allow-headers"), "content-type,x-mine");
    const call = await post("ChatService/Chat", chat("hello"), { origin: "https://app.example" });
    assert.match(call.headers.get("access-control-expose-headers") ?? "", /grpc-status/i);
  });

  test("any other origin may not", async () => {
    assert.equal((await preflight("https://evil.example")).status, 403);
    const call = await post("ChatService/Chat", chat("hello"), { origin: "https://evil.example" });
    assert.equal(call.headers.get("access-control-allow-origin"), null);
  });

  test("it is off by default", async () => {
    await using plain = await startService();
    const response = await fetch(`${plain.url}/parley.v1.ChatService/Chat`, {
      method: "OPTIONS",
      headers: { origin: "https://app.example", "access-control-request-method": "POST" },
    });
    assert.equal(response.status, 403);
  });
});

describe("over HTTP/2", () => {
  const json = { ":method": "POST", ":path": "/parley.v1.ChatService/StreamChat", "content-type": "application/json" };

  test("a HEAD leaves no call open", async () => {
    const session = openHttp2(service.url);
    const reply = await sendHttp2(session, { ":method": "HEAD", ":path": "/parley.v1.ChatService/Chat" });
    assert.equal(reply.status, 405);
    assert.equal(reply.body.length, 0);
    session.close();
    while ((await activeCalls(service)) > 0);
  });

  for (const code of [constants.NGHTTP2_NO_ERROR, constants.NGHTTP2_INTERNAL_ERROR, constants.NGHTTP2_CANCEL]) {
    test(`a caller that resets its stream with ${code} in the middle of its request has cancelled`, async () => {
      await using other = await startService();
      const socket = connect(other.server.port, "127.0.0.1");
      socket.on("error", () => {});
      const reset = Buffer.alloc(4);
      reset.writeUInt32BE(code);
      socket.write(Buffer.concat([HELLO, http2Frame(FRAME.HEADERS, END_HEADERS, 1, chatHeader)]));
      socket.write(http2Frame(FRAME.DATA, 0, 1, "{"));
      while ((await activeCalls(other)) === 0);
      socket.write(http2Frame(FRAME.RST_STREAM, 0, 1, reset));
      assert.equal((await other.nextCall()).code, "CANCELLED");
      socket.destroy();
    });
  }

  test("a content type in capitals is the same content type", async () => {
    await using other = await startService({
      config: { defaultTimeout: 300 },
      script: { steps: [{ respond: { content: [{ text: "a" }] }, gate: "never" }] },
    });
    const session = openHttp2(other.url);
    const body = envelope(streamed("hello"));
    const reply = await sendHttp2(session, { ...json, "content-type": "Application/grpc-web+json" }, body);
    assert.match(reply.body.toString(), /grpc-status: ?4/i);
    session.close();
  });
});
