import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { LinkedAbort } from "../../src/agent/linked-abort.ts";

const ignore = () => {};

test("it is aborted with its parent, for the same reason", () => {
  const parent = new AbortController();
  using linked = new LinkedAbort(parent.signal, Number.POSITIVE_INFINITY, ignore);
  parent.abort("why");
  assert.equal(linked.signal.reason, "why");
});

test("it is aborted from the start when its parent is", () => {
  using linked = new LinkedAbort(AbortSignal.abort("why"), Number.POSITIVE_INFINITY, ignore);
  assert.equal(linked.signal.reason, "why");
});

test("its own end does not end its parent", () => {
  const parent = new AbortController();
  using linked = new LinkedAbort(parent.signal, Number.POSITIVE_INFINITY, ignore);
  linked.abort("why");
  assert.equal(parent.signal.aborted, false);
});

test("its time is never up before it is", async () => {
  for (let index = 0; index < 50; index++) {
    const deadline = performance.now() + 3 + index / 50;
    const { promise, resolve } = Promise.withResolvers<number>();
    using _linked = new LinkedAbort(new AbortController().signal, deadline, () => resolve(performance.now()));
    assert.ok((await promise) >= deadline);
  }
});

test("disposed of, it leaves no listener and no timer", () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const parent = new AbortController();
  const before = timers();
  {
    using _linked = new LinkedAbort(parent.signal, performance.now() + 60_000, ignore);
    assert.equal(getEventListeners(parent.signal, "abort").length, 1);
    assert.equal(timers(), before + 1);
  }
  assert.equal(getEventListeners(parent.signal, "abort").length, 0);
  assert.equal(timers(), before);
});
