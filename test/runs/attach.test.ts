import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { create, fromBinary, fromJsonString, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import fc from "fast-check";
import {
  type AgentEvent,
  AgentService,
  AttachRunRequestSchema,
  AttachRunResponseSchema,
  DisconnectPolicy,
  RunState,
} from "../../gen/parley/v1/agent_service_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { ask, assertGapless, calls, run, says, startAgents, watch } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import { startService, transports } from "../support/service.ts";
import { certificate, createTlsFolder, trust } from "../support/tls.ts";
import { envelope, openHttp2 } from "../support/wire.ts";
import { clientCertificate } from "./client-certificate.ts";
import { bytesOf, newCaller, newClient } from "./clients.ts";

const words = (count: number) => Array.from({ length: count }, (_, index) => `word-${index}`).join(" ");

/** A tool that ends when the test says so. */
function heldTool() {
  const held = Promise.withResolvers<void>();
  const tools = new ScriptedTools({
    hold: async () => {
      await held.promise;
      return "held";
    },
    look: (_, { progress }) => {
      progress("looking");
      return "seen";
    },
  });
  return { tools, release: () => held.resolve() };
}

/** A turn of Claude's that says something and calls a tool. */
function saysAndCalls(text: string, tool: string): Script["steps"][number] {
  const called = calls([tool]).respond?.content ?? [];
  return { respond: { content: [{ text }, ...called], stop_reason: "tool_use" } };
}

function sequences(events: readonly AgentEvent[]): readonly number[] {
  return events.map(({ sequence }) => sequence);
}

/** Everything that was written in text blocks. */
function textIn(events: readonly AgentEvent[]): string {
  let text = "";
  for (const { event } of events) {
    if (event.case !== "messageEvent" || event.value.event.case !== "contentBlockDelta") continue;
    const { delta } = event.value.event.value;
    if (delta.case === "text") text += delta.value;
  }
  return text;
}

describe("a run is watched", { timeout: 120_000 }, () => {
  test("after it has ended, from its start, from any event on, and after the last", async () => {
    const { tools, release } = heldTool();
    release();
    await using service = await startAgents(tools, [saysAndCalls(words(20), "look"), calls(["hold"]), says(words(20))]);
    const { events, id } = await run(service, ask(tools));
    assertGapless(events);
    for (const after of [0, 1, Math.floor(events.length / 2), events.length - 1, events.length]) {
      const seen = await watch(newClient(service).attachRun({ runId: id, afterSequence: after }));
      assert.equal(seen.failure, undefined);
      assert.deepEqual(bytesOf(seen.events), bytesOf(events.slice(after)));
    }
  });

  test("while it is at work: first what there was, then what comes", async () => {
    const { tools, release } = heldTool();
    await using service = await startAgents(tools, [saysAndCalls(words(20), "hold"), says(words(20))]);
    const running = run(service, ask(tools));
    await tools.begun(1);
    const { runs } = await newClient(service).listRuns({});
    const runId = runs[0]?.id ?? "";
    const begun = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const watching = [0, 7].map((afterSequence, index) =>
      watch(newClient(service).attachRun({ runId, afterSequence }), ({ event }) => {
        if (event.case === "toolCallStarted") begun[index]?.resolve();
      }),
    );
    await Promise.all(begun.map(({ promise }) => promise));
    release();
    const { events } = await running;
    const [all, some] = await Promise.all(watching);
    assert.deepEqual(bytesOf(all?.events ?? []), bytesOf(events));
    assert.deepEqual(bytesOf(some?.events ?? []), bytesOf(events.slice(7)));
  });

  test("over any number of lost connections, and nothing is missing or doubled", async () => {
    /** The run has more events before Claude stops in its answer. */
    const HELD_BACK = 30;
    const tools = new ScriptedTools({ look: () => "seen" });
    await using service = await startAgents(tools, undefined);
    const property = fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 4 }),
      async (cuts) => {
        // Claude goes on when all connections were lost that are to be.
        const answer = { ...says(words(40)), gateAfter: { events: 30, gate: "all lost" } };
        service.simulator.run({ steps: [saysAndCalls(words(10), "look"), answer] });
        const seen: AgentEvent[] = [];
        let runId = "";
        const follow = async (cut: number) => {
          const caller = newCaller(service);
          const stream =
            runId === ""
              ? caller.agents.runAgent(ask(tools, { disconnectPolicy: DisconnectPolicy.CONTINUE }) as never)
              : caller.agents.attachRun({ runId, afterSequence: seen.at(-1)?.sequence ?? 0 });
          let left = cut;
          await watch(stream, (event) => {
            // What has arrived but was not read is lost with the connection.
            if (left === 0) return;
            runId = event.runId;
            seen.push(event);
            left = seen.length < HELD_BACK ? left - 1 : 0;
            if (left === 0) caller.loseConnection();
          });
        };
        for (const cut of cuts) if (seen.length < HELD_BACK) await follow(cut);
        service.simulator.open("all lost");
        const rest = await watch(newClient(service).attachRun({ runId, afterSequence: seen.at(-1)?.sequence ?? 0 }));
        assert.equal(rest.failure, undefined);
        const all = await watch(newClient(service).attachRun({ runId }));
        assertGapless(all.events);
        assert.deepEqual(bytesOf([...seen, ...rest.events]), bytesOf(all.events));
        assert.equal(all.finished.run.state, RunState.SUCCEEDED);
        assert.equal(all.text, words(40));
      },
    );
    await fc.assert(property, { numRuns: 25 });
  });

  test("by 50 at once, of whom some are slow and some hang up, and all see the same bytes", async () => {
    const { tools, release } = heldTool();
    await using service = await startAgents(tools, [saysAndCalls(words(300), "hold"), says(words(300))]);
    const { run: created } = await service.client(AgentService).createRun({ run: ask(tools) as never });
    const runId = created?.id ?? "";
    await tools.begun(1);
    const { run: running } = await service.client(AgentService).getRun({ runId });
    const replayed = running?.lastSequence ?? 0;
    const caughtUp: Promise<void>[] = [];
    const watchers = Array.from({ length: 50 }, (_, index) => {
      const afterSequence = index % 5 === 0 ? 0 : Math.floor((replayed * index) / 50);
      const { promise, resolve } = Promise.withResolvers<void>();
      const controller = new AbortController();
      const stream = newClient(service).attachRun({ runId, afterSequence }, { signal: controller.signal });
      const kind = index % 10 === 3 ? "gone" : index % 10 === 7 ? "slow" : "fast";
      const seen: AgentEvent[] = [];
      const read = async () => {
        try {
          for await (const { event } of stream) {
            seen.push(event as AgentEvent);
            if (event?.sequence !== undefined && event.sequence >= replayed) {
              resolve();
              if (kind === "gone") controller.abort();
              // It reads on when the run has long ended.
              if (kind === "slow") await ended.promise;
            }
          }
        } catch (error) {
          if (kind !== "gone") throw error;
        }
      };
      caughtUp.push(promise);
      return { kind, afterSequence, seen, done: read() };
    });
    const ended = Promise.withResolvers<void>();
    await Promise.all(caughtUp);
    release();
    const all = await watch(newClient(service).attachRun({ runId }));
    assertGapless(all.events);
    assert.equal(all.finished.run.state, RunState.SUCCEEDED);
    await Promise.all(watchers.filter(({ kind }) => kind === "fast").map(({ done }) => done));
    ended.resolve();
    await Promise.all(watchers.map(({ done }) => done));
    const expected = bytesOf(all.events);
    for (const { kind, afterSequence, seen } of watchers) {
      const told = bytesOf(seen);
      const wanted = expected.slice(afterSequence);
      assert.deepEqual(told, kind === "gone" ? wanted.slice(0, told.length) : wanted);
    }
  });

  test("by one who does not read, which holds up neither the run nor others", async () => {
    const tools = new ScriptedTools({});
    const text = "x".repeat(300_000);
    await using service = await startAgents(tools, [{ ...says(text), gate: "watched" }]);
    const { run: created } = await service.client(AgentService).createRun({ run: ask([]) as never });
    const runId = created?.id ?? "";
    const session = openHttp2(service.url);
    const stream = session.request({
      ":method": "POST",
      ":path": "/parley.v1.AgentService/AttachRun",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.end(envelope(toBinary(AttachRunRequestSchema, create(AttachRunRequestSchema, { runId }))));
    await once(stream, "response");
    service.simulator.open("watched");
    const other = await watch(newClient(service).attachRun({ runId }));
    assert.equal(other.text, text);
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    session.close();
    const events = messagesIn(Buffer.concat(chunks)).map((bytes) => fromBinary(AttachRunResponseSchema, bytes).event);
    assert.deepEqual(bytesOf(events as AgentEvent[]), bytesOf(other.events));
  });

  for (const name of Object.keys(transports("http://localhost"))) {
    test(`by ${name}`, async () => {
      await using service = await startAgents(new ScriptedTools({ look: () => "seen" }), [
        calls(["look"]),
        { ...says(words(10)), gateAfter: { events: 5, gate: "watched" } },
      ]);
      const running = run(service, ask(["look"]));
      await service.simulator.nextRequest();
      await service.simulator.nextRequest();
      const { runs } = await newClient(service).listRuns({});
      const client = createClient(AgentService, transports(service.url)[name] as never);
      const attached = await watch(client.attachRun({ runId: runs[0]?.id ?? "", afterSequence: 2 }), () =>
        service.simulator.open("watched"),
      );
      const { events } = await running;
      assert.deepEqual(bytesOf(attached.events), bytesOf(events.slice(2)));
    });
  }

  test("by Server-Sent Events", async () => {
    await using service = await startAgents(new ScriptedTools({ look: () => "seen" }), [calls(["look"]), says("Hi.")]);
    const { events, id } = await run(service, ask(["look"]));
    const response = await fetch(`${service.url}/parley.v1.AgentService/AttachRun`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({ runId: id, afterSequence: 3 }),
    });
    const told = (await response.text())
      .trimEnd()
      .split("\n\n")
      .map((line) => fromJsonString(AttachRunResponseSchema, line.slice("data: ".length)).event as AgentEvent);
    assert.deepEqual(bytesOf(told), bytesOf(events.slice(3)));
  });
});

describe("a replay with joined deltas", { timeout: 60_000 }, () => {
  test("has the same texts in fewer events, each with the number of the last in it", async () => {
    const { tools, release } = heldTool();
    release();
    const thinking = { thinking: words(300) };
    const call = calls(["hold", { n: 1 }]).respond?.content ?? [];
    await using service = await startAgents(tools, [
      { respond: { content: [thinking, { text: words(300) }, ...call], stop_reason: "tool_use" } },
      says(words(300)),
    ]);
    const { events, id } = await run(
      service,
      ask(tools, { chat: { thinking: { mode: { case: "adaptive", value: {} } } } }),
    );
    const { events: joined } = await watch(newClient(service).attachRun({ runId: id, coalesceReplay: true }));
    assert.ok(joined.length < events.length / 2, `${joined.length} of ${events.length}`);
    assert.equal(textIn(joined), textIn(events));
    const deltas = joined.filter(
      ({ event }) => event.case === "messageEvent" && event.value.event.case === "contentBlockDelta",
    );
    // Of each block one: the thinking, its signature, the text, the arguments, and the last text.
    assert.equal(deltas.length, 5);
    const numbers = sequences(joined);
    assert.deepEqual(
      numbers,
      [...new Set(numbers)].sort((one, other) => one - other),
    );
    assert.equal(numbers.at(-1), events.at(-1)?.sequence);
    const others = new Set(bytesOf(joined.filter((event) => !deltas.includes(event))));
    const isDelta = ({ event }: AgentEvent) =>
      event.case === "messageEvent" && event.value.event.case === "contentBlockDelta";
    assert.deepEqual(others, new Set(bytesOf(events.filter((event) => !isDelta(event)))));
    for (const delta of deltas) {
      const next = events[delta.sequence];
      assert.ok(next && next.event.case === "messageEvent" && !(isDelta(next) && sameDelta(next, delta)));
    }
    // Whoever was cut off in the middle of joined deltas goes on after the last of them.
    for (const { sequence } of deltas) {
      const rest = await watch(
        newClient(service).attachRun({ runId: id, afterSequence: sequence, coalesceReplay: true }),
      );
      const seen = joined.filter((event) => event.sequence <= sequence);
      assert.deepEqual(bytesOf([...seen, ...rest.events]), bytesOf(joined));
    }
  });

  test("is joined up to where the run is, and not beyond", async () => {
    await using service = await startAgents(
      new ScriptedTools({}),
      [{ ...says(words(60)), gateAfter: { events: 30, gate: "replayed" } }],
      { config: { server: { heartbeat: 100 } } },
    );
    const silent = Promise.withResolvers<string>();
    const running = watch(service.client(AgentService).runAgent(ask([]) as never), ({ event, runId, sequence }) => {
      if (event.case === "heartbeat" && sequence > 10) silent.resolve(runId);
    });
    const runId = await silent.promise;
    const { run: now } = await newClient(service).getRun({ runId });
    const last = now?.lastSequence ?? 0;
    const { events: seen } = await watch(
      newClient(service).attachRun({ runId, coalesceReplay: true }),
      ({ sequence }) => {
        if (sequence === last) service.simulator.open("replayed");
      },
    );
    const joined = seen.filter(({ event }) => event.case !== "heartbeat");
    const { events: all } = await running;
    const plain = all.filter(({ event }) => event.case !== "heartbeat");
    assert.equal(textIn(joined), textIn(plain));
    assert.ok(sequences(joined).includes(last));
    assert.ok(joined.filter(({ sequence }) => sequence <= last).length < 6);
    assert.deepEqual(
      bytesOf(joined.filter(({ sequence }) => sequence > last)),
      bytesOf(plain.filter(({ sequence }) => sequence > last)),
    );
  });
});

describe("AttachRun", { timeout: 60_000 }, () => {
  test("refuses numbers that the run has not come to, and negative ones", async () => {
    await using service = await startAgents(new ScriptedTools({}), [says("Hi.")]);
    const { id, events } = await run(service, ask([]));
    for (const afterSequence of [events.length + 1, 2_147_483_647, -1]) {
      const told = await failureOf(newClient(service).attachRun({ runId: id, afterSequence }));
      assert.equal(told.code, "InvalidArgument");
      assert.deepEqual(
        told.badRequest?.fieldViolations.map(({ field }) => field),
        ["after_sequence"],
      );
    }
  });

  test("finds no run that never was", async () => {
    await using service = await startService();
    const told = await failureOf(newClient(service).attachRun({ runId: "run_0" }));
    assert.equal(told.code, "NotFound");
    assert.equal(told.errorInfo?.reason, "NOT_FOUND");
    assert.deepEqual([told.resourceInfo?.resourceType, told.resourceInfo?.resourceName], ["parley.v1.Run", "run_0"]);
  });

  test("sends heartbeats with the number of the event before them, which a reader may pass over", async () => {
    const { tools, release } = heldTool();
    await using service = await startAgents(tools, [calls(["hold"]), says("Hi.")], {
      config: { server: { heartbeat: 100 } },
    });
    const { run: created } = await service.client(AgentService).createRun({ run: ask(tools) as never });
    let beats = 0;
    const seen = await watch(newClient(service).attachRun({ runId: created?.id ?? "" }), ({ event }) => {
      if (event.case === "heartbeat" && ++beats === 3) release();
    });
    for (const [index, { event, sequence, ignorable, runId }] of seen.events.entries()) {
      if (event.case !== "heartbeat") continue;
      assert.equal(sequence, seen.events[index - 1]?.sequence);
      assert.deepEqual([ignorable, runId], [true, created?.id]);
    }
    assert.ok(beats >= 3);
    assertGapless(seen.events.filter(({ event }) => event.case !== "heartbeat"));
  });

  test("may be hung up on, and the run goes on", async () => {
    const { tools, release } = heldTool();
    await using service = await startAgents(tools, [calls(["hold"]), says("Hi.")]);
    const running = run(service, ask(tools));
    await tools.begun(1);
    const { runs } = await newClient(service).listRuns({});
    const [hangingUp, losing] = [new AbortController(), newCaller(service)];
    const runId = runs[0]?.id ?? "";
    const watching = [
      watch(newClient(service).attachRun({ runId }, { signal: hangingUp.signal }), () => hangingUp.abort()),
      watch(losing.agents.attachRun({ runId }), () => losing.loseConnection()),
      failureOf(newClient(service).attachRun({ runId }, { timeoutMs: 100 })),
    ];
    await Promise.all(watching);
    for (const _ of watching) assert.notEqual((await service.nextCall()).method, undefined);
    release();
    const seen = await running;
    assert.equal(seen.finished.run.state, RunState.SUCCEEDED);
    assert.equal(tools.calls[0]?.context.signal.aborted, false);
  });

  test("tells of events that are no longer kept, and has those after them", async () => {
    const { tools, release } = heldTool();
    await using service = await startAgents(tools, [saysAndCalls(words(5_000), "hold"), says("Hi.")], {
      config: { runs: { memory: 64 * 1_024 } },
    });
    const { run: created } = await service.client(AgentService).createRun({ run: ask(tools) as never });
    const runId = created?.id ?? "";
    await tools.begun(1);
    const told = await failureOf(newClient(service).attachRun({ runId }));
    assert.equal(told.code, "NotFound");
    assert.equal(told.errorInfo?.reason, "RUN_EVENTS_EXPIRED");
    assert.deepEqual(
      [told.resourceInfo?.resourceType, told.resourceInfo?.resourceName],
      ["parley.v1.AgentEvent", runId],
    );
    const [, first] = /ask for those after (\d+)/.exec(told.message) ?? [];
    // Once it follows, it goes on where it is.
    const following = newClient(service).attachRun({ runId, afterSequence: Number(first) });
    const rest = await watch(following, () => release());
    assert.equal(rest.failure, undefined);
    assertGapless(rest.events, Number(first) + 1);
    assert.equal(rest.text, "Hi.");
  });

  test("and all else about a run is for the caller who started it", async () => {
    using folder = createTlsFolder();
    await using service = await startAgents(new ScriptedTools({}), [says("Hi.")], {
      config: { server: { tls: folder.filesWithClients } },
    });
    const clientOf = (pair: { cert: Buffer | string; key: Buffer | string }) => {
      const { "gRPC over HTTP/2": transport } = transports(service.url, { ...trust, ...pair });
      return createClient(AgentService, transport as never);
    };
    const [owner, other] = [clientOf(certificate("client")), clientOf(clientCertificate("stock"))];
    const seen = await watch(owner.runAgent(ask([]) as never));
    const runId = seen.id;
    assert.equal((await owner.getRun({ runId })).run?.id, runId);
    assert.equal((await owner.listRuns({})).runs.length, 1);
    assert.equal((await other.listRuns({})).runs.length, 0);
    const calls: Record<string, () => Promise<unknown> | AsyncIterable<unknown>> = {
      AttachRun: () => other.attachRun({ runId }),
      GetRun: () => other.getRun({ runId }),
      CancelRun: () => other.cancelRun({ runId }),
      SubmitToolResults: () =>
        other.submitToolResults({
          runId,
          answers: [{ toolUseId: "t", answer: { case: "approval", value: { approved: true } } }],
        }),
      ResumeRun: () => other.resumeRun({ runId }),
    };
    for (const [name, call] of Object.entries(calls)) {
      const told = await failureOf(call());
      assert.equal(told.code, "NotFound", name);
      assert.deepEqual([told.resourceInfo?.resourceType, told.resourceInfo?.resourceName], ["parley.v1.Run", runId]);
    }
  });
});

function sameDelta(one: AgentEvent, other: AgentEvent): boolean {
  const [a, b] = [one, other].map(({ event }) =>
    event.case === "messageEvent" && event.value.event.case === "contentBlockDelta"
      ? `${event.value.event.value.index} ${event.value.event.value.delta.case}`
      : undefined,
  );
  return a === b;
}

/** The messages in length-prefixed frames. */
function messagesIn(body: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let offset = 0; offset < body.length; ) {
    const end = offset + 5 + body.readUInt32BE(offset + 1);
    messages.push(body.subarray(offset + 5, end));
    offset = end;
  }
  return messages;
}
