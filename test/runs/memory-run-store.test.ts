import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { RunAgentRequestSchema, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { isTelling } from "../../src/errors/failure.ts";
import { MemoryRunStore } from "../../src/runs/memory-run-store.ts";
import type { RunRecord } from "../../src/runs/run-record.ts";
import { endRecord, newRecord, nextEvents, readAll, testRunStore } from "./store-contract.ts";

/** So many of the latest events of each run are never dropped. */
const KEPT = 64;

describe("the store in memory", { timeout: 60_000 }, () => {
  testRunStore(async () => new MemoryRunStore({ maxBytes: 1_000_000 }));

  test("forgets runs that have ended first, the oldest of them before the others", async () => {
    await using store = new MemoryRunStore({ maxBytes: 33_500 });
    const records = ["run_1", "run_2", "run_3", "run_4"].map((id) => newRecord(id));
    for (const record of records) await store.create(record);
    const [active, second, third, last] = records as [RunRecord, RunRecord, RunRecord, RunRecord];
    store.append(active, nextEvents(active, 1, 1_000));
    for (const record of [third, second, last]) {
      endRecord(record);
      store.append(record, nextEvents(record, 1, 1_000));
    }
    assert.equal(await store.find("run_3"), undefined);
    for (const id of ["run_1", "run_2", "run_4"]) assert.equal((await readAll(store, id)).length, 1);
  });

  test("does not forget a run that was resumed", async () => {
    await using store = new MemoryRunStore({ maxBytes: 1_500 });
    const [resumed, other] = [newRecord("run_1"), newRecord("run_2")];
    await store.create(resumed);
    await store.create(other);
    endRecord(resumed, RunState.BUDGET_EXHAUSTED);
    store.append(resumed, nextEvents(resumed, 1, 1_000));
    resumed.run.state = RunState.RUNNING;
    store.append(resumed, nextEvents(resumed, 1));
    store.append(other, nextEvents(other, 1, 1_000));
    assert.equal((await readAll(store, "run_1")).length, 2);
  });

  test("keeps the end of a run that is larger than all memory", async () => {
    await using store = new MemoryRunStore({ maxBytes: 1_000 });
    const record = newRecord("run_1");
    await store.create(record);
    store.append(record, nextEvents(record, 500, 100));
    endRecord(record);
    store.append(record, nextEvents(record, 1, 100));
    const { lastSequence } = record.run;
    assert.equal((await store.read("run_1", lastSequence - KEPT, 1_000)).length, KEPT);
    const tooEarly = (error: unknown) =>
      isTelling(error) &&
      error.failure.reason === "RUN_EVENTS_EXPIRED" &&
      error.failure.resource?.name === "run_1" &&
      error.message.includes(`ask for those after ${lastSequence - KEPT}`);
    await assert.rejects(store.read("run_1", 0, 1_000), tooEarly);
  });

  test("a run of few large events does not keep others from giving theirs away", async () => {
    await using store = new MemoryRunStore({ maxBytes: 20_000 });
    const [large, long] = [newRecord("run_1"), newRecord("run_2")];
    await store.create(large);
    await store.create(long);
    store.append(large, nextEvents(large, 10, 1_500));
    store.append(long, nextEvents(long, 300, 10));
    assert.equal((await readAll(store, "run_1")).length, 10);
    await assert.rejects(store.read("run_2", 0, 1_000));
    assert.ok((await store.read("run_2", 300 - KEPT, 1_000)).length === KEPT);
  });

  test("holds no more than it may, but for the latest events of runs that have not ended", async () => {
    type Step = {
      readonly kind: "create" | "add" | "end";
      readonly of: number;
      readonly n: number;
      readonly size: number;
    };
    const step: fc.Arbitrary<Step> = fc.record({
      kind: fc.constantFrom("create", "add", "add", "add", "end"),
      of: fc.nat(5),
      n: fc.integer({ min: 1, max: 150 }),
      size: fc.integer({ min: 0, max: 60 }),
    });
    const property = fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 500, max: 20_000 }),
      async (steps, maxBytes) => {
        await using store = new MemoryRunStore({ maxBytes });
        const records: RunRecord[] = [];
        const active = () => records.filter(({ run }) => run.state === RunState.RUNNING);
        for (const { kind, of, n, size } of steps) {
          const record = active()[of];
          if (kind === "create" || record === undefined) {
            const created = newRecord(`run_${String(records.length).padStart(3, "0")}`, { size: size * 10 });
            records.push(created);
            await store.create(created);
          } else {
            if (kind === "end") endRecord(record);
            store.append(record, nextEvents(record, n, size));
            assert.ok(await store.find(record.run.id), "the run that moved on is there");
          }
          await assertBounded(store, records, maxBytes);
        }
      },
    );
    await fc.assert(property, { numRuns: 150 });
  });
});

async function assertBounded(store: MemoryRunStore, records: readonly RunRecord[], maxBytes: number): Promise<void> {
  let bytes = 0;
  let givesAll = true;
  let ended = 0;
  for (const record of records) {
    const found = await store.find(record.run.id);
    if (found === undefined) {
      assert.notEqual(record.run.state, RunState.RUNNING, "only runs that have ended are forgotten");
      continue;
    }
    if (record.run.state !== RunState.RUNNING) ended++;
    const events = await keptEvents(store, record);
    assert.ok(events.length >= Math.min(KEPT, record.run.lastSequence), "the latest events are there");
    if (events.length > KEPT) givesAll = false;
    const { length } = toBinary(RunAgentRequestSchema, record.request);
    bytes += events.reduce((sum, event) => sum + event.bytes.length, length);
  }
  // Only the run that has just ended may still be there.
  assert.ok(bytes <= maxBytes || (givesAll && ended <= 1), `${bytes} bytes, of ${maxBytes}`);
}

/** The events of a run that were not dropped. */
async function keptEvents(store: MemoryRunStore, { run }: RunRecord) {
  try {
    return await store.read(run.id, 0, Number.POSITIVE_INFINITY);
  } catch (error) {
    const [, first] = /after (\d+)$/.exec((error as Error).message) ?? [];
    return store.read(run.id, Number(first), Number.POSITIVE_INFINITY);
  }
}
