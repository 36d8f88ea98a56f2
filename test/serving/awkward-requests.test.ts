import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { after, before, test } from "node:test";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { failureOf } from "../support/details.ts";
import { startServiceProcess } from "../support/process.ts";
import { type Service, startService } from "../support/service.ts";
import { envelope, openHttp2, sendHttp2 } from "../support/wire.ts";

const path = "/parley.v1.ChatService/Chat";
const grpc = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };

let service: Service;
before(async () => {
  service = await startService();
});
after(() => service[Symbol.asyncDispose]());

test("half a character in a request that is refused does no harm", async () => {
  const session = openHttp2(service.url);
  const headers = { ...grpc, "content-type": "application/grpc+json" };
  const reply = await sendHttp2(session, headers, envelope('{"\\ud800":1}'));
  session.close();
  assert.equal(reply.headers["grpc-status"], "3");
  assert.match(decodeURIComponent(reply.headers["grpc-message"] ?? ""), /\ufffd/);
});

test("half a character in an error of Claude's does no harm", async () => {
  const error = { type: "invalid_request_error", message: "not this: \ud83d" };
  service.simulator.run({ steps: [{ respond: { status: 400, error } }] });
  const told = await failureOf(service.chat.chat({ messages: [{ role: Role.USER, text: "hello" }] }));
  assert.equal(told.code, "InvalidArgument");
  assert.match(told.message, /not this: \ufffd/);
});

test("a second message that is larger than the limit is one message too many", async () => {
  await using small = await startService({ config: { limits: { requestBytes: 1_000 } } });
  const session = openHttp2(small.url);
  const reply = await sendHttp2(session, grpc, Buffer.concat([envelope("a"), envelope(Buffer.alloc(5_000))]));
  session.close();
  assert.equal(reply.headers["grpc-status"], "12");
});

const MIB = 1024 * 1024;

test("what arrives of a request whose deadline has passed is not kept", async () => {
  await using other = await startServiceProcess({ ANTHROPIC_BASE_URL: "http://127.0.0.1:1" });
  const session = connect(other.url);
  const stream = session.request({ ...grpc, "grpc-timeout": "1m" });
  stream.on("error", () => {});
  stream.resume();
  stream.write(Buffer.from([0, 1, 0]));
  await once(stream, "trailers");
  const before = other.residentBytes();
  const closed = once(stream, "close");
  for (let sent = 0; sent < 256 && !stream.destroyed; sent++) {
    if (!stream.write(Buffer.alloc(MIB))) await Promise.race([once(stream, "drain"), closed]);
  }
  assert.ok(other.residentBytes() - before < 128 * MIB);
  session.destroy();
});

test("a request in pieces of one byte takes about as much memory as it has bytes", async () => {
  await using other = await startServiceProcess({ ANTHROPIC_BASE_URL: "http://127.0.0.1:1" });
  const session = connect(other.url);
  const stream = session.request(grpc);
  stream.on("error", () => {});
  const head = Buffer.alloc(5);
  head.writeUInt32BE(10 * MIB, 1);
  stream.write(head);
  const before = other.residentBytes();
  const byte = Buffer.alloc(1);
  for (let sent = 0; sent < 1_000_000; sent++) {
    if (!stream.write(byte)) await once(stream, "drain");
  }
  assert.ok(other.residentBytes() - before < 96 * MIB);
  session.destroy();
});
