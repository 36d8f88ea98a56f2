import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect } from "node:http2";
import { after, before, describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { StreamChatRequestSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { type Service, startService } from "../support/service.ts";
import { envelope } from "../support/wire.ts";

const PATH = "/parley.v1.ChatService/StreamChat";
const json = '{"chat":{"messages":[{"role":"ROLE_USER","text":"hello"}]}}';

/** More than the buffers of a connection take, by far. */
const LARGE = {
  events: [
    {
      type: "message_start",
      message: { id: "m", type: "message", role: "assistant", model: "x", content: [], usage: {} },
    },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    ...Array.from({ length: 64 }, () => ({
      type: "content_block_delta",
      index: 0,
      delta: { type: "text_delta", text: "x".repeat(1024 * 1024) },
    })),
  ].map((data) => ({ data })),
};

let service: Service;
before(async () => {
  service = await startService({ config: { defaultTimeout: 2_000 } });
});
after(() => service[Symbol.asyncDispose]());

describe("a caller that has stopped reading keeps its call no longer than its deadline", () => {
  test("over HTTP/2", async () => {
    service.simulator.run({ steps: [{ respond: LARGE }] });
    const session = connect(service.url);
    const stream = session.request({ ":method": "POST", ":path": PATH, "content-type": "application/grpc" });
    stream.on("error", () => {});
    const messages = [{ role: Role.USER, text: "hello" }];
    stream.end(envelope(toBinary(StreamChatRequestSchema, create(StreamChatRequestSchema, { chat: { messages } }))));
    await once(stream, "response");
    assert.equal((await service.nextCall()).code, "DEADLINE_EXCEEDED");
    assert.equal(service.server.connections, 1);
    session.destroy();
  });

  test("over HTTP/1.1", async () => {
    service.simulator.run({ steps: [{ respond: LARGE }] });
    const headers = { "content-type": "application/json", accept: "text/event-stream" };
    const call = httpRequest(`${service.url}${PATH}`, { method: "POST", headers });
    call.on("error", () => {});
    call.end(json);
    const [response] = await once(call, "response");
    response.on("error", () => {});
    assert.equal((await service.nextCall()).code, "DEADLINE_EXCEEDED");
    call.destroy();
  });
});

test("no header lets a call escape the service's deadline", async () => {
  service.simulator.run({ steps: [{ respond: { content: [{ text: "hello" }] }, gate: "never" }] });
  const headers = { "content-type": "application/grpc", accept: "text/event-stream" };
  const response = await fetch(`${service.url}${PATH}`, { method: "POST", headers, body: json });
  assert.match(await response.text(), /^event: error\ndata: .*deadline_exceeded/m);
  assert.equal((await service.nextCall()).code, "DEADLINE_EXCEEDED");
});
