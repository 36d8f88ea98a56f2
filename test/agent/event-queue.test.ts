import assert from "node:assert/strict";
import { test } from "node:test";
import { EventQueue } from "../../src/agent/event-queue.ts";

test("each batch has all that came since the one before", async () => {
  const queue = new EventQueue<number>();
  queue.push(1);
  queue.push(2);
  assert.deepEqual(await queue.next(), { done: false, value: [1, 2] });
  const next = queue.next();
  queue.push(3);
  queue.push(4);
  assert.deepEqual((await next).value, [3, 4]);
});

test("it ends when the work does, after what came before", async () => {
  const queue = new EventQueue<number>();
  queue.endAfter(Promise.resolve());
  queue.push(1);
  assert.deepEqual(await Array.fromAsync(queue), [[1]]);
});

test("it fails as the work does, after what came before, also when there is no reason", async () => {
  for (const reason of [new Error("broken"), undefined]) {
    const queue = new EventQueue<number>();
    queue.endAfter(Promise.reject(reason));
    queue.push(1);
    assert.deepEqual((await queue.next()).value, [1]);
    await assert.rejects(queue.next(), (error) => error === reason);
  }
});

test("what comes after its end is not told", async () => {
  const queue = new EventQueue<number>();
  queue.endAfter(Promise.resolve());
  assert.equal((await queue.next()).done, true);
  queue.push(1);
  assert.equal((await queue.next()).done, true);
});
