import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fromJson } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { createClient, type Transport } from "@connectrpc/connect";
import { AgentService, RunAgentResponseSchema, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { ask, assertGapless, calls, run, SeenRun, says, startAgents, watch } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import { type Service, transports } from "../support/service.ts";

const tools = new ScriptedTools({
  look: (_, { progress }) => {
    progress("looking");
    return "seen";
  },
});
const script: Script["steps"] = [
  { respond: { content: [{ text: "I look." }, { type: "tool_use", id: "toolu_1", name: "look", input: { n: 1 } }] } },
  says("It is there."),
];
const request = ask(tools);

let service: Service;
before(async () => {
  service = await startAgents(tools, undefined);
});
after(() => service[Symbol.asyncDispose]());

/** Ways to hear of a run. */
const ways: Record<string, () => Promise<SeenRun>> = {
  ...Object.fromEntries(
    Object.keys(transports("http://localhost")).map((name) => [
      name,
      () => {
        const client = createClient(AgentService, transports(service.url)[name] as Transport);
        return watch(client.runAgent(request as never));
      },
    ]),
  ),
  "Server-Sent Events": async () => {
    const response = await fetch(`${service.url}/parley.v1.AgentService/RunAgent`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({
        chat: { messages: [{ role: "ROLE_USER", text: "Go." }], tools: [{ registeredTool: "look" }] },
      }),
    });
    const seen = new SeenRun();
    for (const [, data] of (await response.text()).matchAll(/^data: (\{.+\})$/gm)) {
      const { event } = fromJson(RunAgentResponseSchema, JSON.parse(data as string));
      if (event !== undefined) seen.events.push(event);
    }
    return seen;
  },
};

describe("a run is told from its beginning to its end, in order and without gaps", () => {
  for (const [name, hear] of Object.entries(ways)) {
    test(name, async () => {
      service.simulator.run({ steps: script });
      const seen = await hear();
      assert.deepEqual(seen.failure, undefined);
      assert.deepEqual(seen.outline, [
        "runStarted",
        "turnStarted",
        "turnFinished",
        "toolCallStarted",
        "toolCallProgress",
        "toolCallFinished",
        "turnStarted",
        "turnFinished",
        "runFinished",
      ]);
      assertGapless(seen.events);
      assert.equal(new Set(seen.events.map(({ runId }) => runId)).size, 1);
      assert.ok(seen.events.every(({ eventTime }) => eventTime !== undefined));
      assert.equal(seen.text, "It is there.");
    });
  }
});

test("each event tells what has happened", async () => {
  service.simulator.run({ steps: script });
  const seen = await run(service, request);
  assert.equal(seen.of("runStarted")[0]?.run?.id, seen.id);
  assert.deepEqual(
    seen.of("turnStarted").map(({ turn, exhaustedBudget }) => [turn, exhaustedBudget]),
    [
      [1, 0],
      [2, 0],
    ],
  );
  const [started] = seen.of("toolCallStarted");
  assert.deepEqual(
    [started?.turn, started?.toolUseId, started?.name, started?.inputJson],
    [1, "toolu_1", "look", '{"n":1}'],
  );
  const [progress] = seen.of("toolCallProgress");
  assert.deepEqual([progress?.toolUseId, progress?.message], ["toolu_1", "looking"]);
  const [finished] = seen.of("toolCallFinished");
  assert.deepEqual([finished?.toolUseId, finished?.result?.isError, finished?.status], ["toolu_1", false, undefined]);
  assert.ok(finished?.duration && durationMs(finished.duration) >= 0);
  assert.deepEqual(
    seen.of("turnFinished").map(({ turn, rawStopReason }) => [turn, rawStopReason]),
    [
      [1, "tool_use"],
      [2, "end_turn"],
    ],
  );
  const { run: last } = seen.finished;
  assert.equal(last.state, RunState.SUCCEEDED);
  assert.deepEqual([last.turns, last.toolCalls, last.lastSequence], [2, 1, seen.events.length]);
  assert.ok(last.finishTime && last.expireTime);
});

test("Claude's own events are counted within each turn, and end with message_stop", async () => {
  service.simulator.run({ steps: script });
  const seen = await run(service, request);
  const turns: number[][] = [];
  const ends: (string | undefined)[] = [];
  for (const { event } of seen.events) {
    if (event.case === "turnStarted") turns.push([]);
    if (event.case === "messageEvent") {
      turns.at(-1)?.push(event.value.sequence);
      ends[turns.length - 1] = event.value.event.case;
    }
  }
  assert.equal(turns.length, 2);
  for (const numbers of turns)
    assert.deepEqual(
      numbers,
      Array.from(numbers, (_, index) => index + 1),
    );
  assert.deepEqual(ends, ["messageStop", "messageStop"]);
});

test("what an event tells of the run does not change when the run moves on", async () => {
  service.simulator.run({ steps: script });
  const seen = await run(service, request);
  // As JSON: only there the events are written anew for each caller.
  const client = createClient(AgentService, transports(service.url)["Connect with JSON"] as Transport);
  const again = await watch(client.attachRun({ runId: seen.id }));
  for (const started of [seen, again].map((one) => one.of("runStarted")[0]?.run)) {
    assert.deepEqual([started?.state, started?.lastSequence, started?.turns], [RunState.RUNNING, 1, 0]);
  }
});

test("only events that tell nothing that lasts may be passed over", async () => {
  service.simulator.run({ steps: script });
  const seen = await run(service, request);
  const ignorable = seen.events.filter((event) => event.ignorable).map(({ event }) => event.case);
  assert.deepEqual(ignorable, ["toolCallProgress"]);
});

test("a run without tools is one turn", async () => {
  service.simulator.run({ steps: [says("Hello.")] });
  const seen = await run(service, ask([]));
  assert.deepEqual(seen.outline, ["runStarted", "turnStarted", "turnFinished", "runFinished"]);
  assert.equal(seen.text, "Hello.");
});

test("runs at the same time have events of their own", async () => {
  const first = { ...calls(["look", {}, "toolu_same"]), expect: { contains: "Go." } };
  service.simulator.run({ steps: [first, says("Done.")].map((step) => ({ ...step, times: 20 })), anyOrder: true });
  const all = await Promise.all(Array.from({ length: 20 }, () => run(service, request)));
  assert.equal(new Set(all.map(({ id }) => id)).size, 20);
  for (const seen of all) {
    assert.equal(seen.failure, undefined);
    assertGapless(seen.events);
    assert.ok(seen.events.every(({ runId }) => runId === seen.id));
  }
});
