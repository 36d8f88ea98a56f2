import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AgentService, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { failureOf } from "../support/details.ts";
import { ask, calls, run, says, startAgents, watch } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import { startService } from "../support/service.ts";

const tools = () => new ScriptedTools({ look: () => "seen" });

describe("a run comes to its end", () => {
  for (const wait of ["Infinity", "1e400", "999999999999"]) {
    test(`when something in front of Claude says retry-after: ${wait}`, async () => {
      const refusal = { respond: { status: 429, headers: { "retry-after": wait } } };
      await using service = await startService({ script: { steps: [refusal, refusal] } });
      const seen = await run(service, ask([]));
      assert.equal(seen.failure?.code, "ResourceExhausted");
      assert.equal(seen.failure?.retryInfo?.retryDelay?.seconds, 86_400n);
      assert.equal(seen.finished.run.state, RunState.FAILED);
      const told = await failureOf(service.chat.chat({ messages: [{ role: Role.USER, text: "hello" }] }));
      assert.equal(told.retryInfo?.retryDelay?.seconds, 86_400n);
    });
  }

  test("when a turn is paused before it has said anything", async () => {
    const paused = { respond: { content: [{ text: "\n" }], stop_reason: "pause_turn" } };
    await using service = await startAgents(tools(), [paused, says("Here.")]);
    const seen = await run(service, ask(tools()));
    assert.equal(seen.failure, undefined);
    assert.equal(seen.text, "Here.");
  });

  test("when its budget is used up and it has nothing but instructions", async () => {
    const chat = { messages: [{ role: Role.SYSTEM, text: "Be kind." }] };
    await using service = await startAgents(tools(), [calls(["look"]), says("Here.")]);
    const seen = await run(service, ask(tools(), { chat, budget: { maxToolCalls: 0 } }));
    // Claude may refuse it, but it is no fault of Parley's.
    assert.notEqual(seen.failure?.code, "Internal");
    assert.equal(seen.kinds.at(-1), "runFinished");
  });
});

test("lists in requests are bounded", async () => {
  await using service = await startService();
  const client = service.client(AgentService);
  const states = Array.from({ length: 17 }, () => RunState.RUNNING);
  const told = await failureOf(client.listRuns({ states }));
  assert.equal(told.badRequest?.fieldViolations[0]?.field, "states");
  const answers = Array.from({ length: 1_001 }, () => ({
    toolUseId: "t",
    answer: { case: "approval" as const, value: { approved: true } },
  }));
  const refused = await failureOf(client.submitToolResults({ runId: "r", answers }));
  assert.equal(refused.badRequest?.fieldViolations[0]?.field, "answers");
});

test("tool calls that the caller makes count as they are answered", async () => {
  const call = calls(["mine", {}, "a"], ["mine", {}, "b"], ["mine", {}, "c"]);
  await using service = await startService({ script: { steps: [call, says("Best.")] } });
  const client = service.client(AgentService);
  const tool = { kind: { case: "custom", value: { name: "mine", inputSchemaJson: '{"type":"object"}' } } } as const;
  const seen = await run(service, ask([], { chat: { tools: [tool] }, budget: { maxToolCalls: 1 } }));
  assert.deepEqual(
    seen.of("actionRequired")[0]?.actions.map(({ toolUseId }) => toolUseId),
    ["a"],
  );
  const result = { toolUseId: "a", text: "done" };
  await client.submitToolResults({
    runId: seen.id,
    answers: [{ toolUseId: "a", answer: { case: "result", value: result } }],
  });
  const all = await watch(client.attachRun({ runId: seen.id }));
  assert.equal(all.finished.run.state, RunState.BUDGET_EXHAUSTED);
  assert.equal(all.finished.run.toolCalls, 1);
  assert.equal(all.of("actionRequired").length, 1);
});
