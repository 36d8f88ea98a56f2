import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import fc from "fast-check";
import { Semaphore } from "../../src/agent/semaphore.ts";

const never = new AbortController().signal;

test("those who wait come in in the order of their coming, each when a slot is free", async () => {
  const semaphore = new Semaphore(2);
  const entered: number[] = [];
  const slots = new Map<number, Disposable>();
  for (let index = 0; index < 5; index++) {
    semaphore.acquire(never).then((slot) => {
      entered.push(index);
      slots.set(index, slot);
    });
  }
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  await settled();
  assert.deepEqual(entered, [0, 1]);
  slots.get(1)?.[Symbol.dispose]();
  await settled();
  assert.deepEqual(entered, [0, 1, 2]);
  slots.get(0)?.[Symbol.dispose]();
  slots.get(2)?.[Symbol.dispose]();
  await settled();
  assert.deepEqual(entered, [0, 1, 2, 3, 4]);
});

test("who is aborted while waiting takes no slot, and leaves no listener", async () => {
  const semaphore = new Semaphore(1);
  const first = await semaphore.acquire(never);
  const controller = new AbortController();
  const gone = semaphore.acquire(controller.signal);
  const next = semaphore.acquire(never);
  assert.equal(getEventListeners(controller.signal, "abort").length, 1);
  const reason = new Error("gone");
  controller.abort(reason);
  await assert.rejects(gone, reason);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  first[Symbol.dispose]();
  await next;
});

test("who comes in leaves no listener", async () => {
  const semaphore = new Semaphore(1);
  const { signal } = new AbortController();
  const first = await semaphore.acquire(signal);
  const second = semaphore.acquire(signal);
  first[Symbol.dispose]();
  await second;
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("who is aborted before is refused, also when a slot is free", async () => {
  const semaphore = new Semaphore(1);
  await assert.rejects(semaphore.acquire(AbortSignal.abort(new Error("gone"))), /gone/);
  await semaphore.acquire(never);
});

test("whatever comes and goes, no more are in than there are slots, and no slot is lost", async () => {
  const visit = fc.record({
    stays: fc.integer({ min: 0, max: 3 }),
    leavesAfter: fc.option(fc.integer({ min: 0, max: 3 })),
  });
  const property = fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(visit), async (slots, visits) => {
    const semaphore = new Semaphore(slots);
    let inside = 0;
    const wait = async (turns: number) => {
      for (let count = 0; count < turns; count++) await new Promise((resolve) => setImmediate(resolve));
    };
    await Promise.all(
      visits.map(async ({ stays, leavesAfter }) => {
        const controller = new AbortController();
        if (leavesAfter !== null) void wait(leavesAfter).then(() => controller.abort(new Error("gone")));
        try {
          using _slot = await semaphore.acquire(controller.signal);
          assert.ok(++inside <= slots);
          await wait(stays);
          inside--;
        } catch (error) {
          assert.equal((error as Error).message, "gone");
        }
      }),
    );
    await Promise.all(Array.from({ length: slots }, () => semaphore.acquire(never)));
  });
  await fc.assert(property, { numRuns: 50 });
});
