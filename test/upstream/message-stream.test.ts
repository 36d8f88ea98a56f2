import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { ByteSink, ByteSource } from "../../src/upstream/byte-source.ts";
import { MessageStream } from "../../src/upstream/message-stream.ts";
import { parseEvent, type StreamEvent } from "../../src/upstream/stream-event.ts";
import { TextBuilder } from "../../src/upstream/text-builder.ts";

const message = { id: "m", type: "message", role: "assistant", model: "x", content: [], usage: { output_tokens: 1 } };
const delta = (index: number, delta: object) => ({ type: "content_block_delta", index, delta });
const text = (index: number, text: string) => delta(index, { type: "text_delta", text });
const begin = (index: number) => ({
  type: "content_block_start",
  index,
  content_block: { type: "text", text: "" },
});

/** Events as the bytes of a stream. */
function bytesOf(events: readonly object[]): Buffer {
  return Buffer.from(events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(""));
}

/** A stream, and what feeds it. */
function open(): { stream: MessageStream; sink: ByteSink } {
  const sinks: ByteSink[] = [];
  const source: ByteSource = { start: (sink) => sinks.push(sink), pause() {}, resume() {}, release() {}, abort() {} };
  const stream = new MessageStream(source, "req_1");
  return { stream, sink: sinks[0] as ByteSink };
}

async function eventsOf(stream: MessageStream): Promise<StreamEvent[]> {
  return (await Array.fromAsync(stream)).flat();
}

test("texts of one block that arrive together with many others become one, and nothing else changes", async () => {
  const words = Array.from({ length: 60 }, (_, index) => `word${index} `);
  const half = words.slice(0, 30);
  const rest = words.slice(30);
  const { stream, sink } = open();
  const events = [
    { type: "message_start", message },
    begin(0),
    ...half.map((word) => text(0, word)),
    { type: "content_block_stop", index: 0 },
    begin(1),
    ...rest.slice(0, 10).map((word) => text(1, word)),
    delta(1, { type: "citations_delta", citation: { type: "char_location" } }),
    ...rest.slice(10).map((word) => text(1, word)),
    { type: "content_block_stop", index: 1 },
    { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 60 } },
    { type: "message_stop" },
  ];
  sink.data(bytesOf(events));
  const received = (await eventsOf(stream)).map(({ event }) => event);
  assert.deepEqual(received.slice(0, 15), events.slice(0, 15));
  assert.deepEqual(received.slice(15), [
    text(0, half.slice(13).join("")),
    { type: "content_block_stop", index: 0 },
    begin(1),
    text(1, rest.slice(0, 10).join("")),
    delta(1, { type: "citations_delta", citation: { type: "char_location" } }),
    text(1, rest.slice(10).join("")),
    { type: "content_block_stop", index: 1 },
    ...events.slice(-2),
  ]);
  const texts = stream.answer.blocks.map((block) => JSON.parse(block.get("text") ?? "") as string);
  assert.deepEqual(texts, [half.join(""), rest.join("")]);
});

test("texts that arrive one by one stay apart, however many they are", async () => {
  const { stream, sink } = open();
  sink.data(bytesOf([{ type: "message_start", message }, begin(0)]));
  const received = [...((await stream.next()).value ?? [])];
  for (let index = 0; index < 40; index++) {
    const next = stream.next();
    sink.data(bytesOf([text(0, `word${index} `)]));
    received.push(...((await next).value ?? []));
  }
  assert.equal(received.length, 42);
});

test("a plain delta is recognised as what JSON says that it is, whatever its text", () => {
  const kinds = [
    ["text_delta", "text"],
    ["thinking_delta", "thinking"],
    ["input_json_delta", "partial_json"],
    ["signature_delta", "signature"],
    ["new_delta", "text"],
  ] as const;
  const string = fc.string({ unit: "grapheme" });
  fc.assert(
    fc.property(fc.constantFrom(...kinds), fc.nat(), string, ([type, member], index, value) => {
      const event = delta(index, { type, [member]: value });
      const { event: parsed, json } = parseEvent(JSON.stringify(event));
      assert.deepEqual(parsed, event);
      assert.equal(json === "", type !== "new_delta");
    }),
  );
});

test("a text that grows by pieces is the text of its pieces, with halves of characters and long pieces too", () => {
  const piece = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("\ud83d", "\ude00", "", "ü€"),
    fc.integer({ min: 300, max: 3_000 }).map((length) => "é".repeat(length)),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
      const builder = new TextBuilder();
      for (const [index, text] of pieces.entries()) {
        builder.append(text);
        if (index % 7 === 0) assert.equal(builder.toString(), pieces.slice(0, index + 1).join(""));
      }
      assert.equal(builder.toString(), pieces.join(""));
    }),
  );
});

test("an observer is told whether somebody was waiting for what is read", async () => {
  const { stream, sink } = open();
  const told: boolean[] = [];
  stream.observer = { received: (_, isPrompt) => told.push(isPrompt), ended() {} };
  const waiting = stream.next();
  sink.data(bytesOf([{ type: "message_start", message }]));
  await waiting;
  sink.data(bytesOf([begin(0)]));
  await stream.next();
  const next = stream.next();
  sink.data(bytesOf([text(0, "a")]));
  await next;
  assert.deepEqual(told, [true, false, true]);
});
