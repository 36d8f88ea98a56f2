import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { type StreamChatResponse, StreamChatResponseSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { writeDelta } from "../../src/rpc/convert/delta-bytes.ts";

const int32 = fc.oneof(fc.nat(300), fc.nat(2_147_483_647));
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary", maxLength: 300 }),
  fc.constantFrom("", "\ud83d", "ü€😀"),
);
const plainDelta = fc
  .record({
    sequence: int32,
    index: int32,
    name: fc.constantFrom("text", "partialJson", "thinking", "signature"),
    text,
  })
  .map(({ sequence, index, name, text }) => {
    const delta = { case: name as "text", value: text };
    return create(StreamChatResponseSchema, {
      sequence,
      event: { case: "contentBlockDelta", value: { index, delta } },
    });
  });

/** What is written of a message after some other bytes. */
function written(message: StreamChatResponse, room = 4_096): Buffer | undefined {
  const target = Buffer.alloc(room, 0xff);
  const end = writeDelta(message, target, 3);
  if (end === undefined) return undefined;
  assert.ok(target.subarray(end).every((byte) => byte === 0xff));
  return target.subarray(3, end);
}

test("a plain delta is written as the library writes it", () => {
  fc.assert(
    fc.property(plainDelta, (message) => {
      assert.deepEqual(written(message), Buffer.from(toBinary(StreamChatResponseSchema, message)));
    }),
    { numRuns: 2_000 },
  );
});

test("what is no plain delta, or has no room, is left to the library", () => {
  const delta = { case: "text", value: "hello" } as const;
  const opaque = { case: "opaque", value: { type: "new", json: "{}" } } as const;
  const others = [
    create(StreamChatResponseSchema, {}),
    create(StreamChatResponseSchema, { event: { case: "heartbeat", value: {} } }),
    create(StreamChatResponseSchema, { event: { case: "contentBlockDelta", value: {} } }),
    create(StreamChatResponseSchema, { event: { case: "contentBlockDelta", value: { delta: opaque } } }),
    create(StreamChatResponseSchema, { event: { case: "contentBlockDelta", value: { index: -1, delta } } }),
    create(StreamChatResponseSchema, {
      event: { case: "contentBlockDelta", value: { delta } },
      extraJson: '{"new":1}',
    }),
  ];
  for (const message of others) assert.equal(written(message), undefined);
  const plain = create(StreamChatResponseSchema, { event: { case: "contentBlockDelta", value: { delta } } });
  assert.equal(written(plain, 30), undefined);
  assert.notEqual(written(plain), undefined);
});
