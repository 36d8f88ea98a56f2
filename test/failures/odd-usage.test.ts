import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AgentService, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { ask, calls, run, says, startAgents } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import { type Service, startService } from "../support/service.ts";

const chat = { messages: [{ role: Role.USER, text: "hello" }] };

/** The beginning of an answer whose usage and model are what they should not be: exact JSON texts. */
function beginning(outputTokens: string, model = '"claude-sonnet-5-5"'): string {
  const message = `{"id":"m","type":"message","role":"assistant","model":${model},"content":[],"usage":{"input_tokens":1,"output_tokens":${outputTokens}}}`;
  return [
    `{"type":"message_start","message":${message}}`,
    '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello there"}}',
  ]
    .map((data) => `data: ${data}\n\n`)
    .join("");
}

/** A service whose answers all begin like this, and break off there. */
function startWith(outputTokens: string, model?: string): Promise<Service> {
  const headers = { "content-type": "text/event-stream" };
  const respond = { status: 200, headers, raw: beginning(outputTokens, model) };
  return startService({ script: { steps: [{ respond, times: 10 }] } });
}

async function gauges({ adminUrl }: Service): Promise<string[]> {
  const scrape = await (await fetch(`${adminUrl}/metrics`)).text();
  return scrape.split("\n").filter((line) => /^parley_(?:rpc|claude)_active_\w+[{ ]/.test(line));
}

describe("an answer that breaks off ends its call, and what is counted of it", () => {
  for (const outputTokens of ['"many"', "{}", "[1,2]", "1e999", "-5", "1e300", "null"]) {
    test(`when its output_tokens are ${outputTokens}`, async () => {
      await using service = await startWith(outputTokens);
      for (const call of [
        service.chat.chat(chat),
        service.chat.streamChat({ chat }),
        service.client(AgentService).runAgent({ chat }),
      ]) {
        const { errorInfo, partialOutput } = await failureOf(call);
        assert.equal(errorInfo?.reason, "UPSTREAM_STREAM_TRUNCATED");
        assert.equal(partialOutput?.usage?.inputTokens, 1);
      }
      await service.line(({ msg, method }) => msg === "call" && method === "parley.v1.AgentService/RunAgent");
      for (const line of await gauges(service)) assert.match(line, / 0$/);
    });
  }

  test("when its model is no text, which is in no line of the log", async () => {
    await using service = await startWith("1", '{"canary":1}');
    const before = service.logs.length;
    assert.equal((await failureOf(service.chat.chat(chat))).errorInfo?.reason, "UPSTREAM_STREAM_TRUNCATED");
    await service.line(({ msg }) => msg === "call");
    assert.doesNotMatch(JSON.stringify(service.logs.slice(before)), /canary/);
  });
});

describe("usage that is in no numbers of tokens", () => {
  const prices = { "claude-sonnet-5-5": { input: 1, output: 1 } };
  for (const [what, budget, state] of [
    ["ends no run that may cost what it will", {}, RunState.SUCCEEDED],
    ["uses up a budget in money", { maxCostMicrosUsd: 1_000_000n }, RunState.BUDGET_EXHAUSTED],
  ] as const) {
    test(what, async () => {
      const tools = new ScriptedTools({ look: () => "seen" });
      const { respond } = calls(["look"]);
      const steps = [{ respond: { ...respond, usage: { input_tokens: "many" } } }, says("Done.")];
      await using service = await startAgents(tools, steps as Script["steps"], { config: { prices } as never });
      const seen = await run(service, ask(tools, { budget }));
      assert.equal(seen.failure, undefined);
      assert.equal(seen.finished.run.state, state);
    });
  }
});
