import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AgentEventSchema, RunAgentRequestSchema, RunSchema, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { LoopState } from "../../src/agent/loop-state.ts";
import { isTelling } from "../../src/errors/failure.ts";
import type { RunRecord } from "../../src/runs/run-record.ts";
import type { RunStore, StoredEvent } from "../../src/runs/run-store.ts";

/** Differences from a run that has just been started. */
export interface RecordTraits {
  readonly owner?: string;
  readonly requestId?: string;
  readonly state?: RunState;
  readonly conversationId?: string;
  /** Length of the text that Claude is asked. */
  readonly size?: number;
}

/** A run that nobody has stored yet. */
export function newRecord(id: string, traits: RecordTraits = {}): RunRecord {
  const { owner = "orders", requestId = "", state = RunState.RUNNING, conversationId = "", size = 10 } = traits;
  const budget = { turns: 1, toolCalls: 1, outputTokens: 1, costMicrosUsd: Number.POSITIVE_INFINITY, durationMs: 1 };
  return {
    run: create(RunSchema, { id, state, conversationId }),
    owner,
    requestId,
    request: create(RunAgentRequestSchema, { chat: { requestId, messages: [{ text: "x".repeat(size) }] } }),
    budget,
    state: new LoopState([]),
    finalMessage: undefined,
    answers: new Map(),
    failure: undefined,
  };
}

/** The next events of a run, each with a text of so many bytes. */
export function nextEvents(record: RunRecord, count: number, size = 10): StoredEvent[] {
  return Array.from({ length: count }, () => {
    const sequence = ++record.run.lastSequence;
    const value = { toolUseId: "t", message: "x".repeat(size) };
    const event = create(AgentEventSchema, {
      runId: record.run.id,
      sequence,
      event: { case: "toolCallProgress", value },
    });
    return { sequence, event, bytes: toBinary(AgentEventSchema, event) };
  });
}

/** Ends a run. It is kept until then, in milliseconds from now. */
export function endRecord(record: RunRecord, state = RunState.SUCCEEDED, keptMs = 60_000): void {
  record.run.state = state;
  record.run.expireTime = timestampFromMs(Date.now() + keptMs);
}

/** All events after a number, however many the store gives at a time. */
export async function readAll(store: RunStore, id: string, after = 0, limit = 1_000): Promise<StoredEvent[]> {
  const all: StoredEvent[] = [];
  for (;;) {
    const events = await store.read(id, all.at(-1)?.sequence ?? after, limit);
    if (events.length === 0) return all;
    assert.ok(events.length <= limit);
    all.push(...events);
  }
}

function plain(events: readonly StoredEvent[]): readonly (readonly [number, string])[] {
  return events.map(({ sequence, bytes }) => [sequence, Buffer.from(bytes).toString("hex")]);
}

/** What `changed` does while a test does something else. */
function watchChange(store: RunStore, id: string, after: number, signal = new AbortController().signal) {
  const change = { isOver: false, promise: store.changed(id, after, signal) };
  const over = () => {
    change.isOver = true;
  };
  change.promise.then(over, over);
  return change;
}

/** Lets everything happen that needs no more than what is there already. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** What all stores do. `start` makes an empty one. */
export function testRunStore(start: () => Promise<RunStore>): void {
  test("a run that was taken is found, and no other", async () => {
    await using store = await start();
    const record = newRecord("run_1", { conversationId: "c" });
    const kept = await store.create(record);
    assert.equal(kept.run.id, "run_1");
    const found = await store.find("run_1");
    assert.deepEqual(found?.run, record.run);
    assert.deepEqual(found?.request, record.request);
    assert.deepEqual([found?.owner, found?.requestId], ["orders", ""]);
    assert.equal(await store.find("run_2"), undefined);
  });

  test("a request starts one run only, also when it comes twice at the same time", async () => {
    await using store = await start();
    const both = await Promise.all(
      ["run_1", "run_2", "run_3"].map((id) => store.create(newRecord(id, { requestId: "r" }))),
    );
    assert.equal(new Set(both.map(({ run }) => run.id)).size, 1);
    const listed = await store.list({ owner: "orders", limit: 10 });
    assert.deepEqual(
      listed.map(({ run }) => run.id),
      [both[0]?.run.id],
    );
    assert.equal((await store.findRequest("orders", "r"))?.run.id, both[0]?.run.id);
  });

  test("requests of other owners, with other names or with none are other requests", async () => {
    await using store = await start();
    await store.create(newRecord("run_1", { requestId: "r" }));
    for (const [id, traits] of [
      ["run_2", { requestId: "r", owner: "stock" }],
      ["run_3", { requestId: "s" }],
      ["run_4", {}],
      ["run_5", {}],
    ] as const) {
      assert.equal((await store.create(newRecord(id, traits))).run.id, id);
    }
    assert.equal((await store.findRequest("stock", "r"))?.run.id, "run_2");
    assert.equal(await store.findRequest("stock", "s"), undefined);
    assert.equal(await store.findRequest("orders", ""), undefined);
  });

  const repeats: readonly (readonly [RunState, boolean])[] = [
    [RunState.QUEUED, true],
    [RunState.RUNNING, true],
    [RunState.REQUIRES_ACTION, true],
    [RunState.CANCELLING, true],
    [RunState.SUCCEEDED, true],
    [RunState.BUDGET_EXHAUSTED, true],
    [RunState.INTERRUPTED, true],
    [RunState.FAILED, false],
    [RunState.CANCELLED, false],
  ];
  for (const [state, isKept] of repeats) {
    test(`the same request ${isKept ? "finds" : "starts anew"} a run in state ${RunState[state]}`, async () => {
      await using store = await start();
      const first = newRecord("run_1", { requestId: "r" });
      await store.create(first);
      first.run.state = state;
      await store.append(first, nextEvents(first, 1));
      assert.equal((await store.findRequest("orders", "r"))?.run.id, isKept ? "run_1" : undefined);
      const second = await store.create(newRecord("run_2", { requestId: "r" }));
      assert.equal(second.run.id, isKept ? "run_1" : "run_2");
      assert.equal((await store.findRequest("orders", "r"))?.run.id, second.run.id);
      assert.equal((await store.find("run_1"))?.run.state, state);
    });
  }

  test("runs are listed by owner, the newest first, page by page", async () => {
    await using store = await start();
    const ids = Array.from({ length: 7 }, (_, index) => `run_${index}`);
    // Identifiers of the same moment come in any order.
    for (const id of [...ids.slice(3), ...ids.slice(0, 3)]) await store.create(newRecord(id));
    await store.create(newRecord("run_9", { owner: "stock" }));
    const pages: string[][] = [];
    for (let before: string | undefined; ; ) {
      const page = (await store.list({ owner: "orders", limit: 3, before })).map(({ run }) => run.id);
      if (page.length === 0) break;
      pages.push(page);
      before = page.at(-1);
    }
    assert.deepEqual(pages, [["run_6", "run_5", "run_4"], ["run_3", "run_2", "run_1"], ["run_0"]]);
    assert.deepEqual(await store.list({ owner: "nobody", limit: 3 }), []);
  });

  test("runs are listed by state and by conversation", async () => {
    await using store = await start();
    const states = [RunState.RUNNING, RunState.SUCCEEDED, RunState.FAILED, RunState.SUCCEEDED];
    for (const [index, state] of states.entries()) {
      const record = newRecord(`run_${index}`, { conversationId: index < 2 ? "c" : "" });
      await store.create(record);
      record.run.state = state;
      await store.append(record, nextEvents(record, 1));
    }
    const list = async (query: object) =>
      (await store.list({ owner: "orders", limit: 10, ...query })).map(({ run }) => run.id);
    assert.deepEqual(await list({ states: new Set([RunState.SUCCEEDED]) }), ["run_3", "run_1"]);
    assert.deepEqual(await list({ states: new Set([RunState.SUCCEEDED, RunState.FAILED]), limit: 2 }), [
      "run_3",
      "run_2",
    ]);
    assert.deepEqual(await list({ states: new Set([RunState.CANCELLED]) }), []);
    assert.deepEqual(await list({ conversationId: "c" }), ["run_1", "run_0"]);
    assert.deepEqual(await list({ conversationId: "c", states: new Set([RunState.RUNNING]) }), ["run_0"]);
  });

  test("events are read as they were added, after any of them, and so many at a time", async () => {
    await using store = await start();
    const record = newRecord("run_1");
    await store.create(record);
    assert.deepEqual(await store.read("run_1", 0, 10), []);
    const events: StoredEvent[] = [];
    for (const count of [1, 90, 0, 9]) {
      const more = nextEvents(record, count);
      events.push(...more);
      await store.append(record, more);
    }
    for (const after of [0, 1, 50, 99, 100]) {
      for (const limit of [1, 7, 1_000]) {
        assert.deepEqual(plain(await readAll(store, "run_1", after, limit)), plain(events.slice(after)));
      }
    }
  });

  test("what is told of a run moves on with its events", async () => {
    await using store = await start();
    const record = newRecord("run_1");
    await store.create(record);
    record.run.turns = 3;
    await store.append(record, nextEvents(record, 2));
    const found = await store.find("run_1");
    assert.deepEqual([found?.run.turns, found?.run.lastSequence], [3, 2]);
  });

  test("all who wait hear of the next event of their run, and of that only", async () => {
    await using store = await start();
    const [one, other] = [newRecord("run_1"), newRecord("run_2")];
    await store.create(one);
    await store.create(other);
    await store.append(one, nextEvents(one, 2));
    const waiting = Array.from({ length: 100 }, () => watchChange(store, "run_1", 2));
    await store.append(other, nextEvents(other, 5));
    await settle();
    assert.ok(waiting.every(({ isOver }) => !isOver));
    await store.append(one, nextEvents(one, 1));
    await Promise.all(waiting.map(({ promise }) => promise));
    assert.deepEqual(
      (await store.read("run_1", 2, 10)).map(({ sequence }) => sequence),
      [3],
    );
  });

  test("nobody waits for events that are there, or for a run that is not", async () => {
    await using store = await start();
    const record = newRecord("run_1");
    await store.create(record);
    await store.append(record, nextEvents(record, 2));
    const { signal } = new AbortController();
    await store.changed("run_1", 0, signal);
    await store.changed("run_1", 1, signal);
    await store.changed("run_2", 0, signal);
  });

  test("who waits stops when told so, and the others wait on", async () => {
    await using store = await start();
    const record = newRecord("run_1");
    await store.create(record);
    const controller = new AbortController();
    const stopped = watchChange(store, "run_1", 0, controller.signal);
    const waiting = watchChange(store, "run_1", 0);
    const reason = new Error("enough");
    controller.abort(reason);
    await assert.rejects(stopped.promise, reason);
    await assert.rejects(store.changed("run_1", 0, controller.signal), reason);
    await settle();
    assert.equal(waiting.isOver, false);
    await store.append(record, nextEvents(record, 1));
    await waiting.promise;
  });

  test("a run that has expired is gone, with its events and its request", async () => {
    await using store = await start();
    const [record, kept] = [newRecord("run_1", { requestId: "r" }), newRecord("run_2")];
    await store.create(record);
    await store.create(kept);
    endRecord(kept);
    await store.append(kept, nextEvents(kept, 1));
    endRecord(record, RunState.SUCCEEDED, 0);
    await store.append(record, nextEvents(record, 3));
    // There are no more events to wait for, but the end of waiting.
    await store.changed("run_1", 3, AbortSignal.timeout(30_000));
    assert.equal(await store.find("run_1"), undefined);
    assert.equal(await store.findRequest("orders", "r"), undefined);
    assert.deepEqual(
      (await store.list({ owner: "orders", limit: 10 })).map(({ run }) => run.id),
      ["run_2"],
    );
    await assert.rejects(
      async () => store.read("run_1", 0, 10),
      (error) => isTelling(error) && error.failure.reason === "RUN_EVENTS_EXPIRED",
    );
    assert.equal((await store.create(newRecord("run_3", { requestId: "r" }))).run.id, "run_3");
    assert.equal((await readAll(store, "run_2")).length, 1);
  });

  test("a run that was resumed does not expire", async () => {
    await using store = await start();
    const [resumed, other] = [newRecord("run_1"), newRecord("run_2")];
    await store.create(resumed);
    await store.create(other);
    endRecord(resumed, RunState.BUDGET_EXHAUSTED, 0);
    await store.append(resumed, nextEvents(resumed, 1));
    resumed.run.state = RunState.RUNNING;
    delete resumed.run.expireTime;
    await store.append(resumed, nextEvents(resumed, 1));
    endRecord(other, RunState.SUCCEEDED, 0);
    await store.append(other, nextEvents(other, 1));
    await store.changed("run_2", 1, AbortSignal.timeout(30_000));
    assert.equal(await store.find("run_2"), undefined);
    assert.equal((await readAll(store, "run_1")).length, 2);
  });
}
