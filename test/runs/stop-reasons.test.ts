import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { StopReason } from "../../gen/parley/v1/chat_service_pb.js";
import type { Step } from "../../src/simulator/simulator.ts";
import { messageEvents, streamedCall } from "../support/message-events.ts";
import { ask, assertGapless, calls, run, says, startAgents } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import type { Service } from "../support/service.ts";

type Json = Record<string, unknown>;
type Message = { role: string; content: Json[] };

const tools = new ScriptedTools({ look: () => "seen" });
const webSearch = {
  kind: { case: "nativeJson", value: '{"type":"web_search_20250305","name":"web_search"}' },
} as const;
const look = { kind: { case: "registeredTool", value: "look" } } as const;
const call = { type: "tool_use", id: "toolu_1", name: "look", input: { n: 1 } };

let service: Service;
before(async () => {
  service = await startAgents(tools, undefined);
});
after(() => service[Symbol.asyncDispose]());
beforeEach(() => {
  tools.calls.length = 0;
});

/** Messages of each request to Claude since the count of requests was so high. */
function histories(since: number): Message[][] {
  return service.simulator.requests.slice(since).map(({ body }) => (body as { messages: Message[] }).messages);
}

function bare(blocks: readonly Json[]): Json[] {
  return blocks.map(({ cache_control: _, ...block }) => block);
}

describe("a run ends with Claude's answer, and tells why Claude stopped", () => {
  const rows: Record<string, { step: NonNullable<Step["respond"]>; reason: StopReason; raw: string }> = {
    "the end": { step: { content: [{ text: "Done." }] }, reason: StopReason.END_TURN, raw: "end_turn" },
    "a stop sequence": {
      step: { content: [{ text: "Do" }], stop_reason: "stop_sequence", stop_sequence: "ne" },
      reason: StopReason.STOP_SEQUENCE,
      raw: "stop_sequence",
    },
    "a refusal": {
      step: {
        content: [],
        stop_reason: "refusal",
        stop_details: { type: "refusal", category: "cyber", explanation: "No." },
      },
      reason: StopReason.REFUSAL,
      raw: "refusal",
    },
    "the most tokens": {
      step: { content: [{ text: "It is" }], stop_reason: "max_tokens" },
      reason: StopReason.MAX_TOKENS,
      raw: "max_tokens",
    },
    "the end of the context window": {
      step: { content: [{ text: "It" }], stop_reason: "model_context_window_exceeded" },
      reason: StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED,
      raw: "model_context_window_exceeded",
    },
    "a reason of tomorrow": {
      step: { content: [{ text: "It" }], stop_reason: "tired" },
      reason: StopReason.UNSPECIFIED,
      raw: "tired",
    },
    "a word for tool calls without one": {
      step: { content: [{ text: "I look." }], stop_reason: "tool_use" },
      reason: StopReason.TOOL_USE,
      raw: "tool_use",
    },
    "no reason at all": {
      step: messageEvents([{ start: { type: "text", text: "It" } }], null),
      reason: StopReason.UNSPECIFIED,
      raw: "",
    },
  };
  for (const [name, { step, reason, raw }] of Object.entries(rows)) {
    for (const turns of [1, 2]) {
      test(`${name}, in turn ${turns}`, async () => {
        service.simulator.run({ steps: [...(turns === 2 ? [calls(["look"])] : []), { respond: step }] });
        const seen = await run(service, ask(tools));
        assert.equal(seen.failure, undefined);
        const { run: ended, finalMessage } = seen.finished;
        assert.equal(ended.state, RunState.SUCCEEDED);
        assert.equal(ended.turns, turns);
        assert.deepEqual([finalMessage?.stopReason, finalMessage?.rawStopReason], [reason, raw]);
        assert.equal(seen.of("turnFinished").at(-1)?.stopReason, reason);
        assert.equal(seen.of("turnFinished").at(-1)?.rawStopReason, raw);
        assertGapless(seen.events);
        service.simulator.verify();
      });
    }
  }

  test("a refusal tells its details", async () => {
    service.simulator.run({ steps: [{ respond: (rows["a refusal"] as { step: Step["respond"] }).step }] });
    const { finalMessage } = (await run(service, ask(tools))).finished;
    assert.equal(finalMessage?.stopDetails?.category, "cyber");
  });
});

describe("a tool call is only made when Claude waits for it", () => {
  for (const reason of ["max_tokens", "refusal", "model_context_window_exceeded", "stop_sequence", "tired"]) {
    test(`not when the answer ended by ${reason}`, async () => {
      service.simulator.run({ steps: [{ respond: { content: [{ text: "I look." }, call], stop_reason: reason } }] });
      const seen = await run(service, ask(tools));
      assert.deepEqual(tools.calls, []);
      assert.equal(seen.of("toolCallStarted").length + seen.of("toolCallFinished").length, 0);
      assert.equal(seen.finished.finalMessage?.rawStopReason, reason);
      assert.equal(seen.finished.run.state, RunState.SUCCEEDED);
      service.simulator.verify();
    });
  }

  test("not when its arguments are cut off by max_tokens, and the answer tells what there was of them", async () => {
    const cut = messageEvents([streamedCall("a", "look", '{"n": 1')], "max_tokens");
    service.simulator.run({ steps: [{ respond: cut }] });
    const seen = await run(service, ask(tools));
    assert.deepEqual(tools.calls, []);
    assert.equal(seen.failure, undefined);
    const { kind } = seen.finished.finalMessage?.content[0] ?? {};
    assert.equal(kind?.case === "toolUse" && kind.value.inputJson, '{"n": 1');
  });
});

describe("a turn that Claude pauses", () => {
  const search = { type: "server_tool_use", id: "srvtoolu_1", name: "web_search", input: { query: "parley" } };
  const found = { type: "web_search_tool_result", tool_use_id: "srvtoolu_1", content: [] };

  test("is sent back as it is, so that Claude goes on", async () => {
    const since = service.simulator.requests.length;
    service.simulator.run({
      steps: [
        { respond: { content: [{ text: "I search." }, search], stop_reason: "pause_turn" } },
        { respond: { content: [found, { text: "Nothing." }] } },
      ],
    });
    const seen = await run(service, ask(tools, { chat: { tools: [webSearch, look] } }));
    assert.equal(seen.failure, undefined);
    assert.equal(seen.text, "Nothing.");
    assert.equal(seen.finished.run.turns, 2);
    const last = histories(since)[1]?.at(-1);
    assert.equal(last?.role, "assistant");
    assert.deepEqual(
      bare(last?.content ?? []).map(({ type }) => type),
      ["text", "server_tool_use"],
    );
    assert.deepEqual(
      seen.of("turnFinished").map(({ stopReason }) => stopReason),
      [StopReason.PAUSE_TURN, StopReason.END_TURN],
    );
    service.simulator.verify();
  });

  test("can be paused again and again", async () => {
    const paused = (index: number) => {
      const id = `srvtoolu_${index}`;
      const before = index === 0 ? [] : [{ ...found, tool_use_id: `srvtoolu_${index - 1}` }];
      return { respond: { content: [...before, { ...search, id }], stop_reason: "pause_turn" } };
    };
    const last = { respond: { content: [{ ...found, tool_use_id: "srvtoolu_2" }, { text: "Done." }] } };
    service.simulator.run({ steps: [paused(0), paused(1), paused(2), last] });
    const seen = await run(service, ask(tools, { chat: { tools: [webSearch] } }));
    assert.equal(seen.failure, undefined);
    assert.equal(seen.text, "Done.");
    assert.equal(seen.finished.run.turns, 4);
    service.simulator.verify();
  });

  test("can ask for tool calls when it goes on", async () => {
    service.simulator.run({
      steps: [
        { respond: { content: [search], stop_reason: "pause_turn" } },
        { respond: { content: [found, { text: "I look, too." }, call] } },
        says("Done."),
      ],
    });
    const seen = await run(service, ask(tools, { chat: { tools: [webSearch, look] } }));
    assert.equal(seen.failure, undefined);
    assert.equal(seen.text, "Done.");
    assert.equal(tools.calls.length, 1);
    service.simulator.verify();
  });

  test("can ask for tool calls at the same time", async () => {
    service.simulator.run({
      steps: [
        { respond: { content: [search, call], stop_reason: "tool_use" } },
        { respond: { content: [found, { text: "Done." }] } },
      ],
    });
    const seen = await run(service, ask(tools, { chat: { tools: [webSearch, look] } }));
    assert.equal(seen.failure, undefined);
    assert.equal(seen.text, "Done.");
    service.simulator.verify();
  });
});

describe("a choice that forces a tool", () => {
  const model = "claude-opus-4-8";
  for (const [name, choice, free] of [
    ["any", { mode: { case: "any", value: {} } }, { type: "auto" }],
    [
      "any",
      { mode: { case: "any", value: { disableParallelToolUse: true } } },
      { type: "auto", disable_parallel_tool_use: true },
    ],
    ["one", { mode: { case: "tool", value: { name: "look" } } }, { type: "auto" }],
  ] as const) {
    test(`${name}: holds for the first turn only ${JSON.stringify(free)}`, async () => {
      const since = service.simulator.requests.length;
      service.simulator.run({ steps: [calls(["look", {}, "a"]), calls(["look", {}, "b"]), says("Done.")] });
      const seen = await run(service, ask(tools, { chat: { model, toolChoice: choice as never } }));
      assert.equal(seen.text, "Done.");
      const choices = service.simulator.requests
        .slice(since)
        .map(({ body }) => (body as { tool_choice?: Json }).tool_choice);
      assert.equal(choices[0]?.type, name === "one" ? "tool" : "any");
      // Claude's own default need not be told.
      for (const later of choices.slice(1)) {
        assert.deepEqual({ disable_parallel_tool_use: false, ...later }, { disable_parallel_tool_use: false, ...free });
      }
    });
  }

  test("another choice holds for all turns", async () => {
    const since = service.simulator.requests.length;
    service.simulator.run({ steps: [calls(["look", {}, "a"]), says("Done.")] });
    const auto = { mode: { case: "auto", value: { disableParallelToolUse: true } } } as const;
    await run(service, ask(tools, { chat: { toolChoice: auto } }));
    const choices = service.simulator.requests.slice(since).map(({ body }) => (body as Json).tool_choice);
    assert.deepEqual(choices, Array(2).fill({ type: "auto", disable_parallel_tool_use: true }));
  });
});
