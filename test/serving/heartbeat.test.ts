import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { ChatService, StreamChatResponseSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { startService, transports } from "../support/service.ts";
import { bodyOf, goodMessage, pathOf, ways } from "../support/ways.ts";
import { openHttp2 } from "../support/wire.ts";

/** What should end but does not fails. */
const PATIENCE = { timeout: 30_000 };

const chat = { messages: [{ role: Role.USER, text: "hello" }] };

for (const name of Object.keys(transports("http://localhost"))) {
  test(`a stream that is silent sends heartbeats, over ${name}`, PATIENCE, async () => {
    const script: Script = { steps: [{ gateAfter: { events: 3, gate: "open" } }] };
    await using service = await startService({ script, config: { server: { heartbeat: 100 } } });
    const client = createClient(ChatService, transports(service.url)[name] as never);
    const events: (string | undefined)[] = [];
    let sequence = 0;
    for await (const response of client.streamChat({ chat })) {
      assert.equal(response.sequence, ++sequence);
      events.push(response.event.case);
      if (events.filter((event) => event === "heartbeat").length === 3) service.simulator.open("open");
    }
    assert.equal(events[0], "messageStart");
    assert.equal(events.at(-1), "messageStop");
    assert.ok(events.indexOf("heartbeat") > 0);
  });
}

test("before Claude has begun to answer, there are heartbeats, too", PATIENCE, async () => {
  const script: Script = { steps: [{ gate: "open" }] };
  await using service = await startService({ script, config: { server: { heartbeat: 100 } } });
  let first: string | undefined;
  for await (const { event } of service.chat.streamChat({ chat })) {
    first ??= event.case;
    service.simulator.open("open");
  }
  assert.equal(first, "heartbeat");
});

test("a stream that is not silent for so long sends none", PATIENCE, async () => {
  await using service = await startService();
  for await (const { event } of service.chat.streamChat({ chat })) assert.notEqual(event.case, "heartbeat");
});

test("a reader that has stopped gets none", PATIENCE, async () => {
  // More than is buffered for a reader: what comes after it waits.
  const delta = { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "x".repeat(200_000) } };
  const usage = { input_tokens: 1, output_tokens: 1 };
  const message = { id: "m", type: "message", role: "assistant", model: "x", content: [], usage };
  const step: Script["steps"][number] = {
    respond: {
      events: [
        { data: { type: "message_start", message } },
        { data: { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } } },
        { data: delta },
        { data: { type: "content_block_stop", index: 0 } },
        { data: { type: "message_delta", delta: { stop_reason: "end_turn" }, usage } },
        { data: { type: "message_stop" } },
      ],
    },
    gateAfter: { events: 3, gate: "open" },
  };
  await using service = await startService({
    script: { steps: [step, { gateAfter: { events: 2, gate: "open" } }] },
    config: { server: { heartbeat: 100 } },
  });
  const way = ways["gRPC, streaming"];
  const session = openHttp2(service.url);
  const stopped = session.request({ ":method": "POST", ":path": pathOf(way), ...way.headers }, { endStream: false });
  stopped.end(bodyOf(way, goodMessage(way)));
  await once(stopped, "response");
  await service.simulator.nextRequest();

  const beats = 10;
  let heard = 0;
  for await (const { event } of service.chat.streamChat({ chat })) {
    if (event.case === "heartbeat" && ++heard === beats) service.simulator.open("open");
  }

  const chunks: Buffer[] = [];
  for await (const chunk of stopped) chunks.push(chunk as Buffer);
  session.close();
  const body = Buffer.concat(chunks);
  const events: (string | undefined)[] = [];
  for (let offset = 0; offset < body.length; ) {
    const end = offset + 5 + body.readUInt32BE(offset + 1);
    events.push(fromBinary(StreamChatResponseSchema, body.subarray(offset + 5, end)).event.case);
    offset = end;
  }
  assert.equal(events.at(-1), "messageStop");
  // One may have been on its way when the reader stopped.
  assert.ok(events.filter((event) => event === "heartbeat").length < beats / 2, events.join());
});
