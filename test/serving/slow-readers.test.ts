import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type ClientHttp2Stream, connect } from "node:http2";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { StreamChatRequestSchema, StreamChatResponseSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { startServiceProcess } from "../support/process.ts";

const READERS = 200;
const ANSWER_BYTES = 2 * 1024 * 1024;
const ALLOWED_GROWTH = 100 * 1024 * 1024;

/** An answer of so many bytes, in deltas of 1 KiB. */
function answerOf(bytes: number): Buffer {
  const event = (data: { type: string }) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
  const delta = event({
    type: "content_block_delta",
    index: 0,
    delta: { type: "text_delta", text: "x".repeat(1_024) },
  } as never);
  const usage = { input_tokens: 1, output_tokens: 1 };
  const message = { id: "m", type: "message", role: "assistant", model: "x", content: [], usage };
  return Buffer.from(
    [
      event({ type: "message_start", message } as never),
      event({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } } as never),
      delta.repeat(bytes / 1_024),
      event({ type: "content_block_stop", index: 0 } as never),
      event({ type: "message_delta", delta: { stop_reason: "end_turn" }, usage } as never),
      event({ type: "message_stop" }),
    ].join(""),
  );
}

test("200 callers that stop reading take little memory, and get all when they read on", async (t) => {
  // A service in use, not one that has just started: the heap grows with the first load of any kind.
  let answer = answerOf(64 * 1_024);
  const responses = new Set<ServerResponse>();
  const claude = createServer((request, response) => {
    request.resume();
    responses.add(response);
    response.writeHead(200, { "content-type": "text/event-stream", "request-id": "req_1" });
    response.end(answer);
  }).listen(0, "127.0.0.1");
  await once(claude, "listening");
  t.after(() => {
    claude.closeAllConnections();
    claude.close();
  });
  const { port } = claude.address() as { port: number };
  await using service = await startServiceProcess({ ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}` });

  const input = toBinary(
    StreamChatRequestSchema,
    create(StreamChatRequestSchema, {
      chat: { messages: [{ role: Role.USER, text: "hello" }] },
      omitFinalMessage: true,
    }),
  );
  const frame = Buffer.alloc(5 + input.length);
  frame.writeUInt32BE(input.length, 1);
  frame.set(input, 5);

  // As a caller of its own each: on one connection they would share its window.
  async function call(): Promise<{ stream: ClientHttp2Stream; close: () => void }> {
    const session = connect(service.url);
    const stream = session.request({
      ":method": "POST",
      ":path": "/parley.v1.ChatService/StreamChat",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.end(frame);
    await once(stream, "response");
    return { stream, close: () => session.close() };
  }
  await Promise.all(Array.from({ length: READERS }, async () => readAll(await call())));
  responses.clear();
  answer = answerOf(ANSWER_BYTES);

  const before = service.residentBytes();
  const stalled = await Promise.all(Array.from({ length: READERS }, call));
  // Nothing more happens when Claude has got rid of no more answers, and the service has not grown, for a while.
  const waiting = () => [...responses].filter((response) => !response.writableFinished).length;
  let most = 0;
  for (let [last, same] = [-1, 0]; same < 10; await sleep(50)) {
    const resident = service.residentBytes();
    same = last === waiting() && resident <= most ? same + 1 : 0;
    last = waiting();
    most = Math.max(most, resident);
  }
  assert.ok(most - before < ALLOWED_GROWTH, `grew by ${Math.round((most - before) / 1024 / 1024)} MiB`);

  const texts = await Promise.all(stalled.map(readAll));
  assert.deepEqual(new Set(texts), new Set([ANSWER_BYTES]));
});

/** Reads a stream to its end. Returns the length of the text in it. */
async function readAll({ stream, close }: { stream: ClientHttp2Stream; close: () => void }): Promise<number> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  close();
  const body = Buffer.concat(chunks);
  let length = 0;
  for (let offset = 0; offset < body.length; ) {
    const size = body.readUInt32BE(offset + 1);
    const { event } = fromBinary(StreamChatResponseSchema, body.subarray(offset + 5, offset + 5 + size));
    if (event.case === "contentBlockDelta" && event.value.delta.case === "text")
      length += event.value.delta.value.length;
    offset += 5 + size;
  }
  return length;
}
