import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { createClient, type Transport } from "@connectrpc/connect";
import { AgentService, BudgetKind, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { StopReason } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Step } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import {
  ask,
  assertGapless,
  calls,
  type RunInput,
  run,
  type SeenRun,
  says,
  startAgents,
  watch,
} from "../support/runs.ts";
import { hang, ScriptedTools } from "../support/scripted-tools.ts";
import { type Service, type ServiceOptions, transports } from "../support/service.ts";

type Json = Record<string, unknown>;
type Body = { messages: { role: string; content: Json[] }[]; tools: Json[]; tool_choice?: Json; max_tokens: number };

const tools = new ScriptedTools({ look: () => "seen", hang });
const best = says("My best.");

let service: Service;
before(async () => {
  const prices = {
    "claude-sonnet-5-5": { input: 1, output: 100 },
    "claude-opus-5-5": { from: "2999-01-01", input: 1, output: 100 },
  };
  service = await startAgents(tools, undefined, { config: { prices } as ServiceOptions["config"] & object });
});
after(() => service[Symbol.asyncDispose]());
beforeEach(() => {
  tools.calls.length = 0;
});

/** Starts a script. The bodies of the requests that follow are what the function returns. */
function play(...steps: Step[]): () => Body[] {
  const since = service.simulator.requests.length;
  service.simulator.run({ steps });
  return () => service.simulator.requests.slice(since).map(({ body }) => body as Body);
}

/** A turn that costs so many tokens. */
function costing(step: Step, output: number, input = 10): Step {
  const usage = {
    input_tokens: input,
    output_tokens: output,
    cache_read_input_tokens: 0,
    cache_creation_input_tokens: 0,
  };
  return { ...step, respond: { ...step.respond, usage } };
}

const look = (index: number) => calls(["look", {}, `toolu_${index}`]);
const ms = (milliseconds: number) => durationFromMs(milliseconds);

/** Asserts that a run has ended OK with a best answer, after one last turn in which Claude could call no tools. */
function assertExhausted(seen: SeenRun, kind: BudgetKind, bodies: readonly Body[], of = service): void {
  assert.equal(seen.failure, undefined);
  assertGapless(seen.events);
  const { run: ended } = seen.finished;
  assert.equal(ended.state, RunState.BUDGET_EXHAUSTED);
  assert.equal(BudgetKind[ended.exhaustedBudget], BudgetKind[kind]);
  assert.equal(ended.error, undefined);
  assert.equal(seen.text, "My best.");
  assert.deepEqual(
    seen.of("turnStarted").map(({ exhaustedBudget }) => exhaustedBudget),
    [
      ...seen
        .of("turnStarted")
        .slice(1)
        .map(() => BudgetKind.UNSPECIFIED),
      kind,
    ],
  );
  assert.equal(ended.turns, seen.of("turnStarted").length);
  const last = bodies.at(-1);
  assert.deepEqual(last?.tool_choice, { type: "none" });
  assert.deepEqual(last?.tools, bodies[0]?.tools);
  const notice = last?.messages.at(-1);
  assert.equal(notice?.role, "user");
  assert.match(String(notice?.content.at(-1)?.text), /budget of this run is used up/);
  of.simulator.verify();
}

describe("a run that has used up its", () => {
  test("turns", async () => {
    const bodies = play(look(1), look(2), best);
    const seen = await run(service, ask(tools, { budget: { maxTurns: 2 } }));
    assertExhausted(seen, BudgetKind.TURNS, bodies());
    // What the tools had found goes into the answer.
    assert.equal(tools.calls.length, 2);
    assert.deepEqual(
      bodies()
        .at(-1)
        ?.messages.at(-1)
        ?.content.map(({ type }) => type),
      ["tool_result", "text"],
    );
  });

  test("turns, just as it ends", async () => {
    play(look(1), says("Done."));
    const seen = await run(service, ask(tools, { budget: { maxTurns: 2 } }));
    assert.equal(seen.finished.run.state, RunState.SUCCEEDED);
    assert.equal(seen.finished.run.exhaustedBudget, BudgetKind.UNSPECIFIED);
  });

  test("turns, while Claude was paused", async () => {
    const native = {
      kind: { case: "nativeJson", value: '{"type":"web_search_20250305","name":"web_search"}' },
    } as const;
    const search = { type: "server_tool_use", id: "srvtoolu_1", name: "web_search", input: { query: "parley" } };
    const bodies = play({ respond: { content: [{ text: "I search." }, search], stop_reason: "pause_turn" } }, best);
    const seen = await run(service, ask(tools, { budget: { maxTurns: 1 }, chat: { tools: [native] } }));
    assertExhausted(seen, BudgetKind.TURNS, bodies());
  });

  test("tool calls: those that are too many are not made, and Claude is told so", async () => {
    const bodies = play(calls(["look", { n: 1 }, "a"], ["look", { n: 2 }, "b"], ["look", { n: 3 }, "c"]), best);
    const seen = await run(service, ask(tools, { budget: { maxToolCalls: 2 } }));
    assertExhausted(seen, BudgetKind.TOOL_CALLS, bodies());
    assert.deepEqual(
      tools.calls.map(({ input }) => input),
      [{ n: 1 }, { n: 2 }],
    );
    assert.equal(seen.finished.run.toolCalls, 2);
    const results = bodies().at(-1)?.messages.at(-1)?.content ?? [];
    assert.deepEqual(
      results.slice(0, 3).map((block) => [block.tool_use_id, block.is_error === true, block.content]),
      [
        ["a", false, "seen"],
        ["b", false, "seen"],
        ["c", true, "the call was not made: the budget of the run is used up"],
      ],
    );
  });

  test("tool calls, of which it may make none", async () => {
    const bodies = play(look(1), best);
    const seen = await run(service, ask(tools, { budget: { maxToolCalls: 0 } }));
    assertExhausted(seen, BudgetKind.TOOL_CALLS, bodies());
    assert.deepEqual(tools.calls, []);
    assert.equal(seen.of("toolCallStarted").length, 0);
  });

  test("tool calls, over several turns", async () => {
    const bodies = play(look(1), look(2), look(3), best);
    const seen = await run(service, ask(tools, { budget: { maxToolCalls: 2 } }));
    assertExhausted(seen, BudgetKind.TOOL_CALLS, bodies());
    assert.equal(tools.calls.length, 2);
  });

  test("tool calls, of which those that could not be made are none", async () => {
    play(calls(["nonsense", {}, "a"], ["look", {}, "b"]), says("Done."));
    const seen = await run(service, ask(tools, { budget: { maxToolCalls: 1 } }));
    assert.equal(seen.finished.run.state, RunState.SUCCEEDED);
    assert.equal(tools.calls.length, 1);
  });

  test("output tokens: no turn may generate more than what is left, but the last one", async () => {
    const bodies = play(costing(look(1), 30), costing(look(2), 45), costing(look(3), 25), best);
    const request = ask(tools, { budget: { maxOutputTokens: 100n }, chat: { maxTokens: 80 } });
    const seen = await run(service, request);
    assertExhausted(seen, BudgetKind.OUTPUT_TOKENS, bodies());
    assert.deepEqual(
      bodies().map(({ max_tokens }) => max_tokens),
      [80, 70, 25, 80],
    );
    assert.equal(tools.calls.length, 3);
  });

  test("output tokens in the middle of a turn, which it then cannot use", async () => {
    const cut: Step = { respond: { content: [{ text: "It is" }], stop_reason: "max_tokens" } };
    const bodies = play(costing(look(1), 30), costing(cut, 20), best);
    const request = ask(tools, { budget: { maxOutputTokens: 50n }, chat: { maxTokens: 80 } });
    const seen = await run(service, request);
    assertExhausted(seen, BudgetKind.OUTPUT_TOKENS, bodies());
    assert.deepEqual(
      bodies().map(({ max_tokens }) => max_tokens),
      [50, 20, 80],
    );
    assert.doesNotMatch(JSON.stringify(bodies().at(-1)?.messages), /It is/);
  });

  test("max_tokens of a turn, which is no budget of the run", async () => {
    play({ respond: { content: [{ text: "It is" }], stop_reason: "max_tokens" } });
    const seen = await run(service, ask(tools, { budget: { maxOutputTokens: 80n }, chat: { maxTokens: 80 } }));
    assert.equal(seen.finished.run.state, RunState.SUCCEEDED);
    assert.equal(seen.finished.finalMessage?.stopReason, StopReason.MAX_TOKENS);
  });

  test("output tokens, if they are fewer than Claude may think in a turn", async () => {
    const bodies = play(best);
    const model = "claude-sonnet-4-5-20250929";
    const thinking = { mode: { case: "enabled", value: { budgetTokens: 1_024 } } } as const;
    const request = ask(tools, { budget: { maxOutputTokens: 20n }, chat: { maxTokens: 2_000, model, thinking } });
    const seen = await run(service, request);
    assertExhausted(seen, BudgetKind.OUTPUT_TOKENS, bodies());
    assert.deepEqual(
      bodies().map(({ max_tokens }) => max_tokens),
      [2_000],
    );
  });

  test("money: no turn may generate more than what the rest pays for", async () => {
    // An output token costs 100 millionths of a dollar here, one of input 1.
    const bodies = play(costing(look(1), 30), costing(look(2), 20), best);
    const request = ask(tools, { budget: { maxCostMicrosUsd: 5_020n }, chat: { maxTokens: 80 } });
    const seen = await run(service, request);
    assertExhausted(seen, BudgetKind.COST, bodies());
    assert.deepEqual(
      bodies().map(({ max_tokens }) => max_tokens),
      [50, 20, 80],
    );
    assert.ok((seen.finished.run.usage?.costMicrosUsd ?? 0n) > 5_020n);
  });

  test("money in the middle of a turn", async () => {
    const cut: Step = { respond: { content: [{ text: "It is" }], stop_reason: "max_tokens" } };
    const bodies = play(costing(cut, 50), best);
    const request = ask(tools, { budget: { maxCostMicrosUsd: 5_020n }, chat: { maxTokens: 80 } });
    assertExhausted(await run(service, request), BudgetKind.COST, bodies());
  });
});

describe("the budget of a run", () => {
  test("in money needs a price that is in force", async () => {
    for (const chat of [
      { model: "claude-haiku-5-5" },
      { fallbackModels: ["claude-haiku-5-5"] },
      { model: "claude-opus-5-5" },
    ]) {
      const call = service
        .client(AgentService)
        .runAgent(ask(tools, { budget: { maxCostMicrosUsd: 1n }, chat }) as never);
      const told = await failureOf(call);
      assert.equal(told.code, "InvalidArgument");
      assert.equal(told.badRequest?.fieldViolations[0]?.field, "budget.max_cost_micros_usd");
    }
  });

  for (const [name, budget, field] of [
    ["turns", { maxTurns: 0 }, "budget.max_turns"],
    ["tool calls", { maxToolCalls: -1 }, "budget.max_tool_calls"],
    ["output tokens", { maxOutputTokens: 0n }, "budget.max_output_tokens"],
    ["cost", { maxCostMicrosUsd: 0n }, "budget.max_cost_micros_usd"],
    ["duration", { maxDuration: ms(0) }, "budget.max_duration"],
    ["reserve", { deadlineReserve: ms(-1) }, "budget.deadline_reserve"],
  ] as const) {
    test(`is refused where it makes no sense: ${name}`, async () => {
      const told = await failureOf(service.client(AgentService).runAgent(ask(tools, { budget }) as never));
      assert.equal(told.code, "InvalidArgument");
      assert.equal(told.badRequest?.fieldViolations[0]?.field, field);
    });
  }

  test("is refused when its reserve is not shorter than the deadline", async () => {
    const request = ask(tools, { budget: { deadlineReserve: ms(60_000) } });
    const told = await failureOf(service.client(AgentService).runAgent(request as never, { timeoutMs: 30_000 }));
    assert.equal(told.code, "InvalidArgument");
    assert.equal(told.badRequest?.fieldViolations[0]?.field, "budget.deadline_reserve");
  });

  const low = { turns: 1, toolCalls: 1, outputTokens: 40 };
  const asked = { maxTurns: 5, maxToolCalls: 5, maxOutputTokens: 5_000n };
  for (const [name, config, budget] of [
    ["is at most that of the configuration's caps", { caps: low }, asked],
    ["is that of the configuration where it says nothing", { defaults: low }, {}],
  ] as const) {
    const rows: readonly (readonly [BudgetKind, readonly Step[]])[] = [
      [BudgetKind.TURNS, [look(1), best]],
      [BudgetKind.TOOL_CALLS, [calls(["look", {}, "a"], ["look", {}, "b"]), best]],
      [BudgetKind.OUTPUT_TOKENS, [{ respond: { content: [{ text: "It" }], stop_reason: "max_tokens" } }, best]],
    ];
    for (const [kind, steps] of rows) {
      test(`${name}: ${BudgetKind[kind]}`, async () => {
        await using bounded = await startAgents(tools, [...steps], { config: { runs: config } });
        const seen = await run(bounded, ask(tools, { budget }));
        assert.equal(seen.failure, undefined);
        assert.equal(seen.finished.run.exhaustedBudget, kind);
        if (kind === BudgetKind.OUTPUT_TOKENS) {
          assert.equal((bounded.simulator.requests[0]?.body as Body | undefined)?.max_tokens, 40);
        }
      });
    }
  }

  test("in money is at most that of the configuration's cap", async () => {
    const prices = { "claude-sonnet-5-5": { input: 1, output: 100 } };
    const config = { prices, runs: { caps: { costUsd: 0.005 } } } as ServiceOptions["config"] & object;
    await using bounded = await startAgents(tools, [costing(look(1), 60), best], { config });
    const seen = await run(bounded, ask(tools));
    assert.equal(seen.finished.run.exhaustedBudget, BudgetKind.COST);
    assert.equal((bounded.simulator.requests[0]?.body as Body | undefined)?.max_tokens, 50);
  });

  test("in time is at most that of the configuration's cap", async () => {
    const config = { runs: { caps: { duration: 200 } } };
    await using bounded = await startAgents(tools, [calls(["hang"]), best], { config });
    const seen = await run(bounded, ask(tools, { budget: { maxDuration: ms(60_000) } }));
    assert.equal(seen.finished.run.exhaustedBudget, BudgetKind.DURATION);
  });
});

const never: Step = { ...says("late"), gate: "never" };

/** What keeps a run until its time is up. What it does then. */
const delays: Record<string, { readonly steps: readonly Step[]; readonly unmade?: boolean }> = {
  "Claude has not begun to answer": { steps: [never] },
  "Claude has not begun a later answer": { steps: [look(1), never] },
  "Claude has sent no content": { steps: [{ ...says("late"), gateAfter: { events: 2, gate: "never" } }] },
  "Claude thinks": {
    steps: [
      {
        respond: { content: [{ thinking: "Hm, what could it be that they want to know" }, { text: "late" }] },
        gateAfter: { events: 6, gate: "never" },
      },
    ],
  },
  "Claude writes a tool call": {
    steps: [
      {
        respond: {
          content: [{ type: "tool_use", id: "late", name: "look", input: { n: 123456789, m: "0123456789" } }],
        },
        gateAfter: { events: 4, gate: "never" },
      },
    ],
  },
  "a tool hangs": { steps: [calls(["hang", {}, "a"], ["look", {}, "b"])] },
  "tools wait for others": { steps: [calls(["hang", {}, "a"], ["hang", {}, "b"], ["hang", {}, "c"])], unmade: true },
};

describe("when the time of a run is up, it gives its best answer in a last turn", { concurrency: true }, () => {
  const kinds = [
    { kind: BudgetKind.DURATION, name: "its duration", budget: { maxDuration: ms(3_000) } },
    { kind: BudgetKind.DEADLINE, name: "the deadline less the reserve", budget: { deadlineReserve: ms(27_000) } },
  ];
  const cases = Object.entries(delays).flatMap(([delay, { steps, unmade = false }]) =>
    kinds.map(({ name, ...kind }) => {
      const own = new ScriptedTools({ look: () => "seen", hang });
      return { name: `${name}, while ${delay}`, ...kind, steps, unmade, own };
    }),
  );
  // All are started before the time of any run begins: to start one keeps the process busy for a while.
  const services: Service[] = [];
  before(async () => {
    for (const { own, steps } of cases) services.push(await startAgents(own, [...steps, best]));
  });
  after(async () => {
    for (const started of services) await started[Symbol.asyncDispose]();
  });
  for (const [index, { name, kind, budget, unmade, own }] of cases.entries()) {
    test(name, async () => {
      const slow = services[index] as Service;
      const seen = await run(slow, ask(own, { budget, maxParallelToolCalls: 2 }), { timeoutMs: 30_000 });
      const bodies = slow.simulator.requests.map(({ body }) => body as Body);
      assertExhausted(seen, kind, bodies, slow);
      // What was cut is not part of what Claude goes on from.
      assert.doesNotMatch(JSON.stringify(bodies.at(-1)?.messages), /late/);
      for (const { tool, context } of own.calls) assert.equal(context.signal.aborted, tool === "hang");
      assertToolsTold(seen, bodies.at(-1)?.messages.at(-1)?.content ?? [], unmade);
    });
  }

  function assertToolsTold(seen: SeenRun, results: readonly Json[], unmade: boolean): void {
    const finished = seen.of("toolCallFinished");
    assert.equal(finished.length, seen.of("toolCallStarted").length);
    for (const { toolUseId, status } of finished) {
      const block = results.find(({ tool_use_id }) => tool_use_id === toolUseId);
      if (block !== undefined) assert.equal(block.is_error === true, status !== undefined);
    }
    if (!unmade) return;
    assert.equal(finished.length, 2);
    assert.equal(results[2]?.content, "the call was not made: the budget of the run is used up");
  }
});

describe("when the time of a run is up, it gives its best answer", () => {
  test("also when a tool answers a moment before that: no turn is begun that must be cut at once", async () => {
    const own = new ScriptedTools({
      look: (_, { deadline }) => sleep(deadline - performance.now() - 5).then(() => "seen"),
    });
    await using slow = await startAgents(own, [calls(["look"]), best]);
    const seen = await run(slow, ask(own, { budget: { maxDuration: ms(1_000) } }));
    const bodies = slow.simulator.requests.map(({ body }) => body as Body);
    assertExhausted(seen, BudgetKind.DURATION, bodies, slow);
    assert.equal(bodies.length, 2);
  });

  test("also when the last word was that of the system", async () => {
    const own = new ScriptedTools({ look: () => "seen" });
    await using slow = await startAgents(own, [never, best]);
    const messages = [
      { role: Role.USER, text: "Go." },
      { role: Role.SYSTEM, text: "Be brief." },
    ];
    const seen = await run(slow, ask(own, { budget: { maxDuration: ms(1_000) }, chat: { messages } }));
    assert.equal(seen.failure, undefined);
    assert.equal(seen.text, "My best.");
  });

  test("also when it was to go on with an answer that the caller began", async () => {
    const own = new ScriptedTools({ look: () => "seen" });
    await using slow = await startAgents(own, [never, best]);
    const messages = [
      { role: Role.USER, text: "Go." },
      { role: Role.ASSISTANT, text: "It is" },
    ];
    const chat = { messages, model: "claude-haiku-4-5-20251001" };
    const seen = await run(slow, ask(own, { budget: { maxDuration: ms(1_000) }, chat }));
    assert.equal(seen.failure, undefined);
    assert.equal(seen.text, "My best.");
  });

  test("its duration, without a caller", async () => {
    const own = new ScriptedTools({ hang });
    await using slow = await startAgents(own, [calls(["hang"]), best]);
    const agents = slow.client(AgentService);
    const created = await agents.createRun({ run: ask(own, { budget: { maxDuration: ms(1_000) } }) } as never);
    const seen = await watch(agents.attachRun({ runId: created.run?.id ?? "" }));
    const bodies = slow.simulator.requests.map(({ body }) => body as Body);
    assertExhausted(seen, BudgetKind.DURATION, bodies, slow);
  });
});

/** Resolves when a run that is started now, with so long a duration, has used it up. */
async function timeIsUp(durationMs: number): Promise<void> {
  const stalled: Step = { ...says("never"), gate: "never" };
  await using other = await startAgents(tools, [stalled, says("My best.")]);
  const seen = await run(other, ask(tools, { budget: { maxDuration: ms(durationMs) } }));
  assert.equal(seen.finished.run.state, RunState.BUDGET_EXHAUSTED);
}

describe("an answer that Claude writes when the time is up", () => {
  const duration = 800;
  const budget = { maxDuration: ms(duration) };
  const text = { text: "This is the answer that they want" };

  async function runPastItsTime(): Promise<SeenRun> {
    let isUp: Promise<void> | undefined;
    const seen = await watch(service.client(AgentService).runAgent(ask(tools, { budget }) as never), ({ event }) => {
      if (event.case !== "messageEvent" || event.value.event.case !== "contentBlockDelta" || isUp !== undefined) return;
      isUp = timeIsUp(duration).then(() => service.simulator.open("go"));
    });
    await isUp;
    return seen;
  }

  test("is not cut", async () => {
    play({ respond: { content: [text] }, gateAfter: { events: 6, gate: "go" } });
    const seen = await runPastItsTime();
    assert.equal(seen.failure, undefined);
    assert.equal(seen.finished.run.state, RunState.SUCCEEDED);
    assert.equal(seen.text, text.text);
    service.simulator.verify();
  });

  test("is cut when a tool call follows it", async () => {
    const call = { type: "tool_use", id: "late", name: "look", input: {} };
    const bodies = play({ respond: { content: [text, call] }, gateAfter: { events: 6, gate: "go" } }, best);
    const seen = await runPastItsTime();
    assertExhausted(seen, BudgetKind.DURATION, bodies());
    assert.deepEqual(tools.calls, []);
    assert.doesNotMatch(JSON.stringify(bodies().at(-1)?.messages), /late/);
  });
});

describe("a tool call never gets more time than is left", () => {
  for (const [name, request, timeoutMs, most] of [
    ["of the duration", { budget: { maxDuration: ms(20_000) } }, 60_000, 20_000],
    ["of the deadline less its reserve", { budget: { deadlineReserve: ms(45_000) } }, 60_000, 15_000],
    ["by its own timeout", {}, 300_000, 30_000],
  ] as const satisfies readonly (readonly [string, RunInput, number, number])[]) {
    test(name, async () => {
      play(calls(["look"]), says("Done."));
      const startedAt = performance.now();
      const seen = await run(service, ask(tools, request), { timeoutMs });
      assert.equal(seen.failure, undefined);
      const [started] = seen.of("toolCallStarted");
      const told = started?.timeout && durationMs(started.timeout);
      assert.ok(told !== undefined && told > 0 && told <= most);
      const deadline = tools.calls[0]?.context.deadline ?? 0;
      // By the clock of this process: the tool is in it.
      assert.ok(deadline > startedAt && deadline <= performance.now() + most);
      if (name !== "by its own timeout") assert.ok(told < most);
    });
  }
});

describe("a run whose last turn runs out of time, too", () => {
  const timed = { headers: { "connect-timeout-ms": "2000" } };
  const budget = { deadlineReserve: ms(1_000) };

  for (const [name, step] of Object.entries({
    "before it begins": { ...best, gate: "never" },
    "in the middle": { ...best, gateAfter: { events: 5, gate: "never" } },
  })) {
    test(`fails, and says so before the call ends: ${name}`, async () => {
      play(calls(["hang"]), step);
      // The deadline is told to the server alone, so that its own word of it can be heard.
      const client = createClient(AgentService, transports(service.url)["Connect over HTTP/2"] as Transport);
      const seen = await watch(client.runAgent(ask(tools, { budget }) as never, timed));
      assert.deepEqual(seen.outline.slice(-2), ["turnFinished", "runFinished"]);
      assertGapless(seen.events);
      const { run: ended } = seen.finished;
      assert.equal(ended.state, RunState.FAILED);
      assert.equal(ended.error?.message, "the time of the run is up");
      assert.equal(seen.failure?.code, "DeadlineExceeded");
      assert.equal(seen.failure?.errorInfo?.reason, "DEADLINE_EXCEEDED");
      // It was the run that ended the call, and not the deadline.
      assert.equal(seen.failure?.message, "the time of the run is up");
      const requests = service.simulator.requests.slice(-2);
      assert.equal((await requests[1]?.ended)?.how, "client-closed");
    });
  }

  test("fails without a caller, too", async () => {
    play(calls(["hang"]), { ...best, gate: "never" });
    const agents = service.client(AgentService);
    const budget = { maxDuration: ms(100), deadlineReserve: ms(100) };
    const created = await agents.createRun({ run: ask(tools, { budget }) } as never);
    const seen = await watch(agents.attachRun({ runId: created.run?.id ?? "" }));
    assert.equal(seen.failure, undefined);
    assert.equal(seen.finished.run.state, RunState.FAILED);
    assert.equal(seen.finished.run.error?.code, 4);
  });
});
