import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { BudgetKind, type BudgetSchema, DisconnectPolicy, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { ParleyError } from "../../src/errors/parley-error.ts";
import { MemoryRunStore } from "../../src/runs/memory-run-store.ts";
import { createSimulator, type Script } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { ask, assertGapless, calls, run, says, startAgents, watch } from "../support/runs.ts";
import { hang, ScriptedTools } from "../support/scripted-tools.ts";
import type { Service, ServiceOptions } from "../support/service.ts";
import { bytesOf, newClient, result } from "./clients.ts";
import { startReplica } from "./replicas.ts";

type Budget = MessageInitShape<typeof BudgetSchema>;
interface Message {
  readonly role: string;
  readonly content: readonly { readonly type: string; readonly [name: string]: unknown }[];
}

const BEST = "This is the best so far.";

/** The messages of a request to Claude, the last by default. */
function sentMessages({ simulator }: Pick<Service, "simulator">, index = -1): Message[] {
  const request = simulator.requests.at(index);
  assert.ok(request);
  return (request.body as { messages: Message[] }).messages;
}

/** The results in the last message to Claude: by the call, in their order. */
function sentResults(service: Pick<Service, "simulator">): (readonly [unknown, unknown, boolean])[] {
  const { content = [] } = sentMessages(service).at(-1) ?? {};
  return content.map(({ tool_use_id, content, is_error }) => [tool_use_id, content, is_error === true]);
}

/** Lets the clock jump, but not its timers. */
function jumpingClock(t: TestContext): (milliseconds: number) => void {
  let passed = 0;
  const now = performance.now.bind(performance);
  t.mock.method(performance, "now", () => now() + passed);
  return (milliseconds) => {
    passed += milliseconds;
  };
}

interface Case {
  readonly budget?: Budget;
  readonly kind: BudgetKind;
  /** What is to be had more. Unset: nothing needs to be. */
  readonly field?: string;
  readonly more?: Budget;
  /** More of all others, which does not help. */
  readonly others?: Budget;
  /** What the clock jumps by while a tool is at work, in milliseconds. */
  readonly jump?: number;
  /** Calls of the turn, and those of them that are made before the resumption. */
  readonly called?: number;
  readonly made?: number;
}

const cases: Record<string, Case> = {
  turns: {
    budget: { maxTurns: 1 },
    kind: BudgetKind.TURNS,
    field: "max_turns",
    more: { maxTurns: 1 },
    others: { maxToolCalls: 5, maxOutputTokens: 5n },
  },
  "tool calls": {
    budget: { maxToolCalls: 1 },
    kind: BudgetKind.TOOL_CALLS,
    field: "max_tool_calls",
    more: { maxToolCalls: 2 },
    others: { maxTurns: 5, maxToolCalls: 0 },
    called: 3,
    made: 1,
  },
  "output tokens": {
    budget: { maxOutputTokens: 40n },
    kind: BudgetKind.OUTPUT_TOKENS,
    field: "max_output_tokens",
    more: { maxOutputTokens: 100n },
    others: { maxTurns: 5 },
  },
  cost: {
    budget: { maxCostMicrosUsd: 10n },
    kind: BudgetKind.COST,
    field: "max_cost_micros_usd",
    more: { maxCostMicrosUsd: 100_000n },
    others: { maxOutputTokens: 5n },
  },
  time: {
    budget: { maxDuration: { seconds: 5n } },
    kind: BudgetKind.DURATION,
    field: "max_duration",
    more: { maxDuration: { seconds: 3n } },
    others: { maxTurns: 5 },
    jump: 10_000,
  },
  "the deadline": { kind: BudgetKind.DEADLINE, jump: 290_000 },
};

describe("a run whose budget is used up goes on with more", { timeout: 60_000 }, () => {
  for (const [name, { budget, kind, field, more, others, jump = 0, called = 1, made = called }] of Object.entries(
    cases,
  )) {
    test(`of ${name}`, async (t) => {
      const clock = jumpingClock(t);
      let calling = 0;
      const tools = new ScriptedTools({
        look: ({ n }) => {
          if (++calling === 1) clock(jump);
          return `seen ${n}`;
        },
      });
      const ids = Array.from({ length: called }, (_, n) => `toolu_${n}`);
      const turn = calls(...ids.map((id, n) => ["look", { n }, id] as const));
      const asksForTools = { respond: { ...turn.respond, usage: { output_tokens: 50 } } };
      await using service = await startAgents(tools, [asksForTools, says(BEST), says("Done.")], {
        config: { prices: { "claude-sonnet-5-5": { input: 1, output: 5 } } },
      });
      const first = await run(service, ask(tools, budget && { budget }));
      assert.equal(first.finished.run.state, RunState.BUDGET_EXHAUSTED);
      assert.equal(first.finished.run.exhaustedBudget, kind);
      assert.equal(first.text, BEST);
      assert.equal(tools.calls.length, made);

      const client = newClient(service);
      if (field !== undefined) {
        for (const additionalBudget of [undefined, {}, others]) {
          const told = await failureOf(client.resumeRun({ runId: first.id, additionalBudget } as never));
          assert.equal(told.code, "InvalidArgument");
          assert.deepEqual(
            told.badRequest?.fieldViolations.map((violation) => violation.field),
            [`additional_budget.${field}`],
          );
        }
      }
      const second = await watch(client.resumeRun({ runId: first.id, additionalBudget: more } as never));
      assert.equal(second.failure, undefined);
      assert.equal(second.kinds[0], "runResumed");
      assert.equal(second.text, "Done.");
      assert.equal(second.finished.run.state, RunState.SUCCEEDED);
      assert.equal(second.finished.run.exhaustedBudget, BudgetKind.UNSPECIFIED);
      assert.equal(tools.calls.length, called);
      assertGapless([...first.events, ...second.events]);
      const all = await watch(client.attachRun({ runId: first.id }));
      assert.deepEqual(bytesOf(all.events), bytesOf([...first.events, ...second.events]));

      const messages = sentMessages(service);
      assert.deepEqual(
        messages.map(({ role }) => role),
        ["user", "assistant", "user"],
      );
      assert.ok(!JSON.stringify(messages).includes(BEST));
      assert.deepEqual(
        sentResults(service),
        ids.map((id, n) => [id, `seen ${n}`, false]),
      );
      service.simulator.verify();
    });
  }

  test("but never with more than the service allows", async () => {
    const tools = new ScriptedTools({ look: () => "seen" });
    const looks = (id: string) => calls(["look", {}, id]);
    await using service = await startAgents(tools, [looks("a"), says(BEST), looks("b"), says(BEST)], {
      config: { runs: { caps: { turns: 2 } } },
    });
    const first = await run(service, ask(tools, { budget: { maxTurns: 1 } }));
    const resume = () => newClient(service).resumeRun({ runId: first.id, additionalBudget: { maxTurns: 100 } });
    const second = await watch(resume());
    assert.equal(second.finished.run.exhaustedBudget, BudgetKind.TURNS);
    assert.equal(second.finished.run.turns, 4);
    const told = await failureOf(resume());
    assert.equal(told.badRequest?.fieldViolations[0]?.field, "additional_budget.max_turns");
    service.simulator.verify();
  });

  test("and waits for the caller to act as before", async () => {
    const tools = new ScriptedTools({});
    const own = {
      kind: { case: "custom" as const, value: { name: "ask_user", inputSchemaJson: '{"type":"object"}' } },
    };
    const called = calls(["ask_user", {}, "toolu_a"]);
    await using service = await startAgents(tools, [called, says(BEST), says("Done.")]);
    const first = await run(service, ask([], { chat: { tools: [own] }, budget: { maxToolCalls: 0 } }));
    assert.equal(first.finished.run.exhaustedBudget, BudgetKind.TOOL_CALLS);
    const client = newClient(service);
    const second = await watch(client.resumeRun({ runId: first.id, additionalBudget: { maxToolCalls: 1 } }));
    assert.deepEqual(second.kinds, ["runResumed", "actionRequired"]);
    await client.submitToolResults({ runId: first.id, answers: [result("toolu_a", "yes")] });
    const third = await watch(
      client.attachRun({ runId: first.id, afterSequence: second.events.at(-1)?.sequence ?? 0 }),
    );
    assert.equal(third.text, "Done.");
    assertGapless([...first.events, ...second.events, ...third.events]);
  });
});

/** A run that a budget has ended. */
async function startExhausted(after: Script["steps"], request = {}, options: ServiceOptions = {}) {
  const tools = new ScriptedTools({ look: () => "seen", hang: hang as never });
  const service = await startAgents(tools, [calls(["look"]), says(BEST), ...after], options);
  const seen = await run(service, ask(tools, { budget: { maxTurns: 1 }, ...request }));
  assert.equal(seen.finished.run.state, RunState.BUDGET_EXHAUSTED);
  return { service, tools, seen, more: { runId: seen.id, additionalBudget: { maxTurns: 5 } } };
}

describe("ResumeRun", { timeout: 60_000 }, () => {
  test("is for one of all who call it at the same time", async () => {
    const { service, seen, more } = await startExhausted([{ ...says("Done."), gate: "resumed" }]);
    await using _ = service;
    const resuming = Array.from({ length: 5 }, () => watch(newClient(service).resumeRun(more)));
    for (let losers = 0; losers < 4; ) {
      const { code } = await service.nextCall();
      if (code === "FAILED_PRECONDITION") losers++;
    }
    service.simulator.open("resumed");
    const outcomes = await Promise.all(resuming);
    const won = outcomes.filter(({ failure }) => failure === undefined);
    assert.equal(won.length, 1);
    assert.equal(won[0]?.text, "Done.");
    assertGapless([...seen.events, ...(won[0]?.events ?? [])]);
    for (const { failure } of outcomes) {
      if (failure !== undefined) assert.equal(failure.errorInfo?.reason, "RUN_NOT_RESUMABLE");
    }
    assert.equal(service.simulator.requests.length, 3);
  });

  test("ends with its call, or goes on without it, as the run that it resumes", async () => {
    for (const [disconnectPolicy, state] of [
      [DisconnectPolicy.CANCEL, RunState.CANCELLED],
      [DisconnectPolicy.CONTINUE, RunState.SUCCEEDED],
    ] as const) {
      const steps = [{ ...says("Done."), gate: "gone" }];
      const { service, seen, more } = await startExhausted(steps, { disconnectPolicy });
      await using _ = service;
      const controller = new AbortController();
      const resumed = watch(newClient(service).resumeRun(more, { signal: controller.signal }), ({ event }) => {
        if (event.case === "turnStarted") controller.abort();
      });
      assert.equal((await resumed).failure?.code, "Canceled");
      await service.line(({ msg, method }) => msg === "call" && String(method).endsWith("/ResumeRun"));
      service.simulator.open("gone");
      const rest = await watch(newClient(service).attachRun({ runId: seen.id, afterSequence: seen.events.length }));
      assert.equal(rest.finished.run.state, state);
    }
  });

  test("counts as an active run", async () => {
    const { service, more } = await startExhausted(
      [{ ...says("Hi."), gate: "full" }],
      {},
      {
        config: { runs: { active: 1 } },
      },
    );
    await using _ = service;
    const client = newClient(service);
    await client.createRun({ run: ask([]) as never });
    const told = await failureOf(client.resumeRun(more));
    assert.equal(told.errorInfo?.reason, "RUN_LIMIT_REACHED");
  });

  test("is for no other runs", async () => {
    const tools = new ScriptedTools({ approve: [{ requiresApproval: true }, () => "ok"] });
    const steps: Script["steps"] = [
      says("Done."),
      { respond: { status: 400, error: { type: "invalid_request_error", message: "no" } } },
      calls(["approve"]),
      { ...says("Never."), gate: "never" },
    ];
    await using service = await startAgents(tools, steps);
    const client = newClient(service);
    const request = ask(tools);
    const succeeded = await run(service, request);
    const failed = await run(service, request);
    const waiting = await run(service, request);
    const { run: running } = await client.createRun({ run: request as never });
    const resume = async (runId: string, state: RunState) => {
      const told = await failureOf(client.resumeRun({ runId, additionalBudget: { maxTurns: 5 } }));
      assert.equal(told.code, "FailedPrecondition");
      assert.equal(told.errorInfo?.reason, "RUN_NOT_RESUMABLE");
      assert.match(told.message, new RegExp(`state ${RunState[state]}`));
    };
    await resume(succeeded.id, RunState.SUCCEEDED);
    await resume(failed.id, RunState.FAILED);
    await resume(waiting.id, RunState.REQUIRES_ACTION);
    await resume(running?.id ?? "", RunState.RUNNING);
    await client.cancelRun({ runId: running?.id ?? "" });
    await resume(running?.id ?? "", RunState.CANCELLED);
    const missing = await failureOf(client.resumeRun({ runId: "run_0" }));
    assert.equal(missing.resourceInfo?.resourceName, "run_0");
  });

  test("finds its tools anew, and says so when one is gone", async () => {
    const { service, tools, more } = await startExhausted([]);
    await using _ = service;
    (tools as { tools: unknown }).tools = [];
    const told = await failureOf(newClient(service).resumeRun(more));
    assert.equal(told.errorInfo?.reason, "TOOL_NOT_REGISTERED");
  });
});

describe("a run that is interrupted", { timeout: 60_000 }, () => {
  test("by a shutdown says so to its caller before the call ends", async () => {
    const tools = new ScriptedTools({ hang: [{ sideEffect: "idempotent" }, hang as never] });
    await using service = await startAgents(tools, [calls(["hang"])], { config: { server: { drain: 0 } } });
    const running = run(service, ask(tools));
    await tools.begun(1);
    await service.server.shutDown();
    const seen = await running;
    assert.equal(seen.finished.run.state, RunState.INTERRUPTED);
    assert.equal(seen.finished.finalMessage, undefined);
    assert.equal(seen.kinds.at(-1), "runFinished");
    assert.equal(seen.failure?.code, "Unavailable");
    assert.equal(seen.failure?.errorInfo?.reason, "SHUTTING_DOWN");
    assert.equal(seen.failure?.partialOutput?.lastSequence, seen.events.at(-1)?.sequence);
    assert.ok(tools.calls[0]?.context.signal.aborted);
  });

  const shuttingDown = () => new ParleyError("SHUTTING_DOWN", "this replica is shutting down");

  /** A simulator, a store, and two replicas that share it. */
  async function startTwo(tools: ScriptedTools, steps: Script["steps"]) {
    const stack = new AsyncDisposableStack();
    const simulator = stack.use(await createSimulator({ pacing: "instant", script: { steps } }));
    const store = new MemoryRunStore({ maxBytes: 1_000_000 });
    const [first, second] = [0, 1].map(() => stack.use(startReplica(simulator, store, tools)));
    if (first === undefined || second === undefined) throw new Error("unreachable");
    return { simulator, store, first, second, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  }

  test("while Claude answers asks for that answer again", async () => {
    const tools = new ScriptedTools({ look: () => "seen" });
    const cut = { ...says("A long answer that is never complete"), gateAfter: { events: 4, gate: "never" } };
    await using all = await startTwo(tools, [calls(["look"]), cut, says("Done.")]);
    const { first, second, simulator } = all;
    const record = await first.start(ask(tools));
    const writing = Promise.withResolvers<void>();
    const before = first.follow(record, 0, ({ event }) => {
      if (event.case === "messageEvent" && event.value.event.case === "contentBlockDelta" && record.run.turns === 2)
        writing.resolve();
    });
    await writing.promise;
    await first.runs.interrupt(shuttingDown());
    const events = await before;
    assert.equal(record.run.state, RunState.INTERRUPTED);
    assert.equal(events.at(-1)?.event.case, "runFinished");
    second.resume(record);
    const rest = await second.follow(record, events.length);
    assertGapless([...events, ...rest]);
    assert.equal(rest[0]?.event.case, "runResumed");
    assert.equal(record.run.state, RunState.SUCCEEDED);
    assert.equal(record.run.error, undefined);
    assert.deepEqual(sentMessages({ simulator }), sentMessages({ simulator }, -2));
    assert.equal(tools.calls.length, 1);
  });

  test("makes only those calls again that do no harm twice", async () => {
    let hangs = true;
    const once = (name: string) => (_: unknown, context: Parameters<typeof hang>[1]) =>
      hangs ? hang(_, context) : `${name} again`;
    const tools = new ScriptedTools({
      quick: [{ sideEffect: "mutating" }, () => "quick"],
      none: [{ sideEffect: "none" }, once("none")],
      idempotent: [{ sideEffect: "idempotent" }, once("idempotent")],
      mutating: [{ sideEffect: "mutating" }, once("mutating")],
      unknown: [{ sideEffect: "unknown" }, once("unknown")],
    });
    const names = tools.tools.map(({ name }) => name);
    const turn = calls(...names.map((name) => [name, {}, `toolu_${name}`] as const));
    await using all = await startTwo(tools, [turn, says("Done.")]);
    const { first, second, simulator } = all;
    const record = await first.start(ask(tools));
    const quickDone = Promise.withResolvers<void>();
    const before = first.follow(record, 0, ({ event }) => {
      if (event.case === "toolCallFinished") quickDone.resolve();
    });
    await Promise.all([tools.begun(5), quickDone.promise]);
    await first.runs.interrupt(shuttingDown());
    const events = await before;
    hangs = false;
    second.resume(record);
    const rest = await second.follow(record, events.length);
    assertGapless([...events, ...rest]);
    assert.equal(record.run.state, RunState.SUCCEEDED);
    assert.deepEqual(
      tools.calls.slice(5).map(({ tool, context }) => [tool, context.toolUseId]),
      [
        ["none", "toolu_none"],
        ["idempotent", "toolu_idempotent"],
      ],
    );
    const results = sentResults({ simulator });
    assert.deepEqual(
      results.map(([id, , isError]) => [id, isError]),
      [
        ["toolu_quick", false],
        ["toolu_none", false],
        ["toolu_idempotent", false],
        ["toolu_mutating", true],
        ["toolu_unknown", true],
      ],
    );
    assert.equal(results[0]?.[1], "quick");
    assert.equal(results[1]?.[1], "none again");
    for (const [, content] of results.slice(3)) assert.match(String(content), /interrupted/);
  });

  test("while it waits waits again, for what it has not been answered yet", async () => {
    const tools = new ScriptedTools({
      sell: [{ requiresApproval: true }, () => "sold"],
      burn: [{ requiresApproval: true }, () => "burnt"],
    });
    await using all = await startTwo(tools, [calls(["sell", {}, "a"], ["burn", {}, "b"]), says("Done.")]);
    const { first, second, simulator } = all;
    const record = await first.start(ask(tools));
    const approval = (toolUseId: string) => ({
      field: "answers[0]",
      toolUseId,
      fingerprint: toolUseId,
      answer: { kind: "decision" as const, decision: { approved: true, reason: "" } },
    });
    const waits = Promise.withResolvers<void>();
    const before = first.follow(record, 0, ({ event }) => {
      if (event.case === "actionRequired") waits.resolve();
    });
    await waits.promise;
    await first.runs.answer(record, [approval("a")]);
    await first.runs.interrupt(shuttingDown());
    const events = await before;
    assert.equal(record.run.state, RunState.INTERRUPTED);
    assert.equal(record.run.pendingActions.length, 0);
    second.resume(record);
    const waitsAgain = Promise.withResolvers<readonly string[]>();
    const after = second.follow(record, events.length, ({ event }) => {
      if (event.case === "actionRequired") waitsAgain.resolve(event.value.actions.map(({ toolUseId }) => toolUseId));
    });
    assert.deepEqual(await waitsAgain.promise, ["b"]);
    await second.runs.answer(record, [approval("a"), approval("b")]);
    assertGapless([...events, ...(await after)]);
    assert.deepEqual(sentResults({ simulator }), [
      ["a", "sold", false],
      ["b", "burnt", false],
    ]);
  });

  test("is not joined by others: none can begin or go on any more", async () => {
    const tools = new ScriptedTools({ hang: hang as never });
    await using all = await startTwo(tools, [calls(["hang"])]);
    const { first } = all;
    const record = await first.start(ask(tools));
    await tools.begun(1);
    await first.runs.interrupt(shuttingDown());
    const refused = (error: unknown) => error instanceof ParleyError && error.failure.reason === "SHUTTING_DOWN";
    await assert.rejects(first.start(ask(tools)), refused);
    assert.throws(() => first.resume(record), refused);
    assert.equal((await all.store.list({ owner: "orders", limit: 10 })).length, 1);
  });
});
