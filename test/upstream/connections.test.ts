import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { startService } from "../support/service.ts";

const event = (data: { readonly type: string }) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
const usage = { input_tokens: 1, output_tokens: 1 };
const message = { id: "m", type: "message", role: "assistant", model: "x", content: [], usage };
const ANSWER = [
  event({ type: "message_start", message } as never),
  event({ type: "content_block_start", index: 0, content_block: { type: "text", text: "hi" } } as never),
  event({ type: "content_block_stop", index: 0 } as never),
  event({ type: "message_delta", delta: { stop_reason: "end_turn" }, usage } as never),
  event({ type: "message_stop" }),
].join("");

test("a request is not aborted whose answer is complete, so that its connection can be used again", async () => {
  const claude = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(ANSWER);
  }).listen(0, "127.0.0.1");
  await once(claude, "listening");
  try {
    const { port } = claude.address() as AddressInfo;
    await using service = await startService({ config: { baseUrl: `http://127.0.0.1:${port}` } });
    for (let call = 0; call < 3; call++) {
      const asked = once(claude, "request") as Promise<[unknown, ServerResponse]>;
      const answered = service.chat.chat({ messages: [{ role: Role.USER, text: "hello" }] });
      const [, response] = await asked;
      const closed = once(response, "close");
      await answered;
      await service.nextCall();
      response.end();
      await closed;
      assert.ok(response.writableFinished, "the request was aborted");
    }
  } finally {
    claude.closeAllConnections();
    claude.close();
  }
});

test("a response that does not end when its answer is complete is ended", async () => {
  const claude = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(ANSWER);
    const comments = setInterval(() => response.write(": still here\n\n"), 100);
    response.once("close", () => clearInterval(comments));
  }).listen(0, "127.0.0.1");
  await once(claude, "listening");
  try {
    const { port } = claude.address() as AddressInfo;
    await using service = await startService({ config: { baseUrl: `http://127.0.0.1:${port}` } });
    const asked = once(claude, "request") as Promise<[unknown, ServerResponse]>;
    const answered = service.chat.chat({ messages: [{ role: Role.USER, text: "hello" }] });
    const [, response] = await asked;
    const closed = once(response, "close");
    await answered;
    await closed;
  } finally {
    claude.closeAllConnections();
    claude.close();
  }
});
