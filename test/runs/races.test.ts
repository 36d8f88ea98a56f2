import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { type AgentEvent, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { LoopObserver } from "../../src/agent/loop-observer.ts";
import { ParleyError } from "../../src/errors/parley-error.ts";
import { MemoryRunStore } from "../../src/runs/memory-run-store.ts";
import type { RunRecord } from "../../src/runs/run-record.ts";
import type { RunQuery, RunStore, StoredEvent } from "../../src/runs/run-store.ts";
import { createSimulator, type Script } from "../../src/simulator/simulator.ts";
import { ask, assertGapless, calls, says } from "../support/runs.ts";
import { hang, ScriptedTools } from "../support/scripted-tools.ts";
import { silentObserver } from "../support/silent-observer.ts";
import { type ReplicaOptions, startReplica } from "./replicas.ts";

/** A store that takes its time, as one in another process does, and that can be out of reach. */
class DistantStore implements RunStore {
  readonly #store = new MemoryRunStore({ maxBytes: 1_000_000 });
  isOut = false;

  async create(record: RunRecord) {
    await this.#travel();
    return this.#store.create(record);
  }

  async find(id: string) {
    await this.#travel();
    return this.#store.find(id);
  }

  async findRequest(owner: string, requestId: string) {
    await this.#travel();
    return this.#store.findRequest(owner, requestId);
  }

  async list(query: RunQuery) {
    await this.#travel();
    return this.#store.list(query);
  }

  async append(record: RunRecord, events: readonly StoredEvent[]) {
    await this.#travel();
    this.#store.append(record, events);
    // What it has taken is there for others before it has said so.
    for (let turns = 0; turns < 10; turns++) await setImmediate();
  }

  async read(id: string, after: number, limit: number) {
    await this.#travel();
    return this.#store.read(id, after, limit);
  }

  changed(id: string, after: number, signal: AbortSignal) {
    return this.#store.changed(id, after, signal);
  }

  [Symbol.asyncDispose]() {
    return this.#store[Symbol.asyncDispose]();
  }

  async #travel(): Promise<void> {
    await setImmediate();
    if (this.isOut) throw new ParleyError("UPSTREAM_UNREACHABLE", "the store is out of reach");
  }
}

function newTools() {
  return new ScriptedTools({ look: () => "seen", sell: [{ requiresApproval: true }, () => "sold"] });
}

async function startOne(steps: Script["steps"], options: ReplicaOptions = {}, tools = newTools()) {
  const stack = new AsyncDisposableStack();
  const simulator = stack.use(await createSimulator({ pacing: "instant", script: { steps } }));
  const store = new DistantStore();
  const replica = stack.use(startReplica(simulator, store, tools, options));
  return { simulator, store, replica, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const approval = {
  field: "answers[0]",
  toolUseId: "a",
  fingerprint: "a",
  answer: { kind: "decision", decision: { approved: true, reason: "" } },
} as const;

function assertEndsOnce(events: readonly AgentEvent[]): void {
  assertGapless(events);
  assert.equal(events.filter(({ event }) => event.case === "runFinished").length, 1);
  assert.equal(events.at(-1)?.event.case, "runFinished");
}

describe("with a store that takes its time", { timeout: 60_000 }, () => {
  test("a run is cancelled while it is about to begin", async () => {
    await using one = await startOne([]);
    const record = await one.replica.start(ask(newTools()));
    assert.equal(record.run.state, RunState.RUNNING);
    await one.replica.runs.cancel(record, "");
    assert.equal(record.run.state, RunState.CANCELLED);
    const events = await one.replica.follow(record, 0);
    assertEndsOnce(events);
    assert.equal(one.simulator.requests.length, 0);
  });

  test("a run ends with a call that has ended before it began", async () => {
    await using one = await startOne([]);
    const call = { signal: AbortSignal.abort(), deadline: performance.now() + 60_000, reserveMs: 0 };
    const record = await one.replica.start(ask(newTools()), call);
    await one.replica.runs.idle();
    assert.equal(record.run.state, RunState.CANCELLED);
    assertEndsOnce(await one.replica.follow(record, 0));
    assert.equal(one.simulator.requests.length, 0);
  });

  for (const [name, state] of [
    ["is cancelled", RunState.CANCELLED],
    ["is answered", RunState.SUCCEEDED],
    ["is answered and cancelled", RunState.CANCELLED],
  ] as const) {
    test(`a run ${name} while it is about to wait`, async () => {
      await using one = await startOne([calls(["sell", {}, "a"]), says("Done.")]);
      const { runs } = one.replica;
      const record = await one.replica.start(ask(newTools()));
      const acted: Promise<unknown>[] = [];
      await one.replica.follow(record, 0, ({ event }) => {
        if (event.case !== "actionRequired") return;
        if (name.includes("answered")) acted.push(runs.answer(record, [approval]));
        if (name.includes("cancelled")) acted.push(runs.cancel(record, ""));
      });
      await Promise.all(acted);
      await runs.idle();
      assert.equal(record.run.state, state);
      assert.deepEqual(record.run.pendingActions, []);
      for (let turns = 0; turns < 100; turns++) await setImmediate();
      assertEndsOnce(await one.replica.follow(record, 0));
    });
  }

  test("there are never more runs than there may be", async () => {
    await using one = await startOne([{ ...says("Done."), gate: "never", times: 3 }], { maxActive: 3 });
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => one.replica.start(ask(newTools()))));
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 3);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") assert.equal(outcome.reason.failure.reason, "RUN_LIMIT_REACHED");
    }
  });

  test("a run that cannot be stored does not begin, and takes no place", async () => {
    await using one = await startOne([says("Done.")], { maxActive: 1 });
    one.store.isOut = true;
    await assert.rejects(one.replica.start(ask(newTools())), /out of reach/);
    one.store.isOut = false;
    const record = await one.replica.start(ask(newTools()));
    await one.replica.follow(record, 0);
    assert.equal(record.run.state, RunState.SUCCEEDED);
  });

  test("a run whose events cannot be stored ends, and takes no place", async () => {
    const out = Promise.withResolvers<void>();
    const tools = new ScriptedTools({ hang: hang as never, look: () => out.promise.then(() => "seen") });
    await using one = await startOne([calls(["hang"], ["look"]), says("Next.")], { maxActive: 1 }, tools);
    const record = await one.replica.start(ask(tools));
    await tools.begun(2);
    one.store.isOut = true;
    out.resolve();
    await one.replica.runs.idle();
    assert.equal(record.run.state, RunState.FAILED);
    assert.match(String(record.failure), /out of reach/);
    for (const { context } of tools.calls) assert.equal(context.signal.aborted, context === tools.calls[0]?.context);
    one.store.isOut = false;
    const next = await one.replica.start(ask(tools));
    await one.replica.follow(next, 0);
    assert.equal(next.run.state, RunState.SUCCEEDED);
  });

  test("a turn whose events cannot be stored ends, and its observer is told", async () => {
    const turns: string[] = [];
    const observer: LoopObserver = {
      ...silentObserver.loop,
      turnStarted(number, trace) {
        turns.push(`${number} begins`);
        // From now on: what the turn yields is not taken.
        one.store.isOut = true;
        return { trace, ended: (_, error) => void turns.push(`${number} ends: ${error instanceof ParleyError}`) };
      },
    };
    await using one = await startOne([says("Never told.")], { observer });
    const record = await one.replica.start(ask(newTools()));
    await one.replica.runs.idle();
    assert.equal(record.run.state, RunState.FAILED);
    assert.deepEqual(turns, ["1 begins", "1 ends: true"]);
  });
});
