import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { status } from "@grpc/grpc-js";
import { contextOf, jsonOf, openTools, type SeenCall, startService, statusError, toolError } from "./service.ts";

const level = (available: number) => ({ levels: [{ warehouseId: "north", available, reserved: 1 }] });
const input = '{"sku":"TENT-2P"}';

/** Sends so many messages, and then one a call of `more` until it is cancelled. */
async function* levels(count: number): AsyncGenerator<unknown> {
  for (let number = 1; number <= count; number++) yield level(number);
}

async function* withoutEnd({ cancelled }: SeenCall): AsyncGenerator<unknown> {
  yield* levels(3);
  await cancelled;
}

/** The parts of a result that has been cut. */
function cutResult({ content }: { readonly content: unknown }): { note: string; messages: unknown[] } {
  const [note, rest] = content as { type: string; text: string }[];
  return { note: note?.text ?? "", messages: JSON.parse(rest?.text ?? "") as unknown[] };
}

describe("a server-streaming method", { concurrency: true, timeout: 60_000 }, () => {
  test("gives Claude all messages as a list", async () => {
    await using service = await startService({ WatchStock: () => levels(3) });
    await using tools = openTools(service.address);
    const result = await tools.tool("inventory_watch_stock").call(input, contextOf());
    assert.deepEqual(jsonOf(result), [level(1), level(2), level(3)]);
  });

  test("that sends nothing gives an empty list", async () => {
    await using service = await startService({ WatchStock: () => levels(0) });
    await using tools = openTools(service.address);
    assert.equal((await tools.tool("inventory_watch_stock").call(input, contextOf())).content, "[]");
  });

  test("tells of its progress each time that the number of messages has doubled", async () => {
    await using service = await startService({ WatchStock: () => levels(1_000) });
    await using tools = openTools(service.address);
    const context = contextOf();
    await tools.tool("inventory_watch_stock").call(input, context);
    assert.deepEqual(context.told, [
      "received 1 message",
      ...[2, 4, 8, 16, 32, 64, 128, 256, 512].map((count) => `received ${count} messages`),
    ]);
  });

  test("that sends more than it may is cancelled, and Claude is told that there was more", async () => {
    await using service = await startService({ WatchStock: () => levels(Number.POSITIVE_INFINITY) });
    await using tools = openTools(service.address, { responseBytes: "2KiB" });
    const result = await tools.tool("inventory_watch_stock").call(input, contextOf());
    const { note, messages } = cutResult(result);
    assert.ok(messages.length > 10);
    assert.deepEqual(messages.at(-1), level(messages.length));
    assert.equal(note, `[cut: these are the first ${messages.length} messages of a stream with more than 2048 bytes]`);
    assert.ok(JSON.stringify(messages).length <= 2_048);
    await (await service.nextCall()).cancelled;
  });

  test("with one message that is larger than all may be is an error", async () => {
    await using service = await startService({
      async *WatchStock() {
        yield { levels: [{ warehouseId: "x".repeat(3_000) }] };
      },
    });
    await using tools = openTools(service.address, { responseBytes: "2KiB" });
    const error = await toolError(tools.tool("inventory_watch_stock").call(input, contextOf()));
    assert.equal(error.code, Code.ResourceExhausted);
  });

  test("without an end gives what came in time, and Claude is told that it goes on", async () => {
    await using service = await startService({ WatchStock: withoutEnd });
    await using tools = openTools(service.address);
    const result = await tools.tool("inventory_watch_stock").call(input, contextOf({ timeoutMs: 1_000 }));
    const { note, messages } = cutResult(result);
    assert.deepEqual(messages, [level(1), level(2), level(3)]);
    assert.match(note, /^\[cut: these are the first 3 messages of a stream that had not ended/);
    await (await service.nextCall()).cancelled;
  });

  test("that never sends anything is out of time", async () => {
    await using service = await startService({
      // biome-ignore lint/correctness/useYield: that is the point
      async *WatchStock({ cancelled }) {
        await cancelled;
      },
    });
    await using tools = openTools(service.address);
    const error = await toolError(tools.tool("inventory_watch_stock").call(input, contextOf({ timeoutMs: 300 })));
    assert.equal(error.message, "DEADLINE_EXCEEDED: the service did not answer in time");
  });

  test("that is aborted in the middle is cancelled at the service", async () => {
    await using service = await startService({ WatchStock: withoutEnd });
    await using tools = openTools(service.address);
    const controller = new AbortController();
    const received = Promise.withResolvers<void>();
    const context = { ...contextOf({ signal: controller.signal }), progress: () => received.resolve() };
    const call = tools.tool("inventory_watch_stock").call(input, context);
    await received.promise;
    const reason = new Error("the run was cancelled");
    controller.abort(reason);
    await assert.rejects(call, reason);
    await (await service.nextCall()).cancelled;
  });

  test("that breaks off is an error, which says how much had come", async () => {
    await using service = await startService({
      async *WatchStock() {
        yield* levels(2);
        throw statusError(status.DATA_LOSS, "the ledger is torn");
      },
    });
    await using tools = openTools(service.address);
    const error = await toolError(tools.tool("inventory_watch_stock").call(input, contextOf()));
    assert.equal(error.code, Code.DataLoss);
    assert.equal(error.message, "DATA_LOSS: the ledger is torn (after 2 messages)");
  });
});
