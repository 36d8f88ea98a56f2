import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { AgentService, DisconnectPolicy, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { Step } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { ask, assertGapless, calls, type RunInput, type SeenRun, says, startAgents, watch } from "../support/runs.ts";
import { hang, ScriptedTools } from "../support/scripted-tools.ts";
import { type Service, transports } from "../support/service.ts";

interface Phase {
  readonly steps: readonly Step[];
  readonly request?: RunInput;
  /** How many requests Claude has got by then, and how the last of them ends. */
  readonly requests: number;
  readonly upstream: "client-closed" | "completed";
  /** How many tool calls have begun by then, and how many of them were told to stop. */
  readonly tools?: number;
  readonly hanging?: number;
  /** The last event by then. */
  readonly last: string;
  /** Whether a deadline cannot pass in it: a wait that would outlast it is not begun. */
  readonly hasNoDeadline?: true;
}

const answer = { content: [{ text: "This is the answer that they want" }] };
const never: Step = { respond: answer, gate: "never" };
const overloaded: Step = {
  respond: { status: 529, headers: { "retry-after": "15" }, error: { type: "overloaded_error", message: "" } },
};
const looked = calls(["look"]);
const three = calls(["hang", { n: 1 }], ["hang", { n: 2 }], ["hang", { n: 3 }]);

const phases: Record<string, Phase> = {
  "before the headers": { steps: [never], requests: 1, upstream: "client-closed", last: "turnStarted" },
  "before the first token": {
    steps: [{ respond: answer, gateAfter: { events: 2, gate: "never" } }],
    requests: 1,
    upstream: "client-closed",
    last: "turnStarted",
  },
  "in the middle of an answer": {
    steps: [{ respond: answer, gateAfter: { events: 6, gate: "never" } }],
    requests: 1,
    upstream: "client-closed",
    last: "messageEvent",
  },
  "while waiting to try again": {
    steps: [overloaded],
    requests: 1,
    upstream: "completed",
    last: "turnStarted",
    hasNoDeadline: true,
  },
  "before the headers of a later answer": {
    steps: [looked, never],
    requests: 2,
    upstream: "client-closed",
    tools: 1,
    hanging: 0,
    last: "turnStarted",
  },
  "while tools are at work": {
    steps: [three],
    requests: 1,
    upstream: "completed",
    tools: 3,
    last: "toolCallStarted",
  },
  "while tool calls wait for others of the run": {
    steps: [three],
    request: { maxParallelToolCalls: 1 },
    requests: 1,
    upstream: "completed",
    tools: 1,
    last: "toolCallStarted",
  },
  "while tool calls wait for others of the tool": {
    steps: [calls(["narrow", { n: 1 }], ["narrow", { n: 2 }], ["narrow", { n: 3 }])],
    requests: 1,
    upstream: "completed",
    tools: 1,
    last: "toolCallStarted",
  },
  "in the last turn": {
    steps: [looked, { respond: answer, gateAfter: { events: 6, gate: "never" } }],
    request: { budget: { maxTurns: 1 } },
    requests: 2,
    upstream: "client-closed",
    tools: 1,
    hanging: 0,
    last: "messageEvent",
  },
};

function makeTools(): ScriptedTools {
  return new ScriptedTools({ look: () => "seen", hang, narrow: [{ maxConcurrency: 1 }, hang] });
}

interface Scene extends AsyncDisposable {
  readonly service: Service;
  readonly tools: ScriptedTools;
  readonly request: RunInput;
  readonly agents: Client<typeof AgentService>;
}

async function scene(phase: Phase): Promise<Scene> {
  const tools = makeTools();
  const service = await startAgents(tools, [...phase.steps]);
  const agents = service.client(AgentService);
  const request = ask(tools, phase.request);
  return { service, tools, request, agents, [Symbol.asyncDispose]: () => service[Symbol.asyncDispose]() };
}

/** Resolves with the identifier of the run that is in the phase. It is watched from another connection. */
async function reached(phase: Phase, { service, tools, agents }: Scene): Promise<string> {
  let upstream = await service.simulator.nextRequest();
  for (let index = 1; index < phase.requests; index++) upstream = await service.simulator.nextRequest();
  if (phase.upstream === "completed") await upstream.ended;
  await tools.begun(phase.tools ?? 0);
  const { runs } = await agents.listRuns({});
  const runId = runs[0]?.id ?? "";
  const watching = new AbortController();
  const expected = phase.last === "toolCallStarted" ? (phase.tools ?? 0) : phase.requests;
  await watch(agents.attachRun({ runId }, { signal: watching.signal }), ({ event }, seen) => {
    const count = seen.of(event.case as "turnStarted").length;
    if (event.case === phase.last && (phase.last === "messageEvent" ? isIn(seen, phase) : count === expected)) {
      watching.abort();
    }
  });
  return runId;
}

function isIn(seen: SeenRun, { requests }: Phase): boolean {
  return seen.of("turnStarted").length === requests;
}

/** Asserts that nothing of a run goes on, and that its end is told to all who ask. */
async function assertOver(phase: Phase, { service, tools, agents }: Scene, runId: string, state: RunState) {
  const upstream = service.simulator.requests[phase.requests - 1];
  assert.equal((await upstream?.ended)?.how, phase.upstream);
  const hanging = tools.calls.filter(({ tool }) => tool !== "look");
  assert.equal(hanging.length, phase.hanging ?? phase.tools ?? 0);
  assert.ok(hanging.every(({ context }) => context.signal.aborted));

  const seen = await watch(agents.attachRun({ runId }));
  assert.equal(seen.failure, undefined);
  assertGapless(seen.events);
  assert.equal(seen.of("runFinished").length, 1);
  assert.equal(seen.kinds.at(-1), "runFinished");
  const { run } = seen.finished;
  assert.equal(RunState[run.state], RunState[state]);
  assert.equal(seen.of("turnStarted").length, seen.of("turnFinished").length);
  // When the time is up, a last turn may begin that has none.
  if (state === RunState.CANCELLED) assert.equal(seen.of("turnStarted").length, phase.requests);

  const line = await service.line(({ msg, run: id }) => msg === "run" && id === runId);
  assert.equal(line.state, RunState[state]);
  // What Claude had told of its costs by then.
  const told = run.usage?.inputTokens ?? 0;
  assert.equal((line.usage as { input?: number } | undefined)?.input ?? 0, told);
  const isCounted = phase.last !== "turnStarted" || phase.requests > 1 || "gateAfter" in (phase.steps[0] ?? {});
  assert.equal(told > 0, isCounted);
  assert.equal(service.simulator.activeRequests, 0);
  return seen;
}

describe("a run that is cancelled stops at once", { concurrency: 4 }, () => {
  for (const [name, phase] of Object.entries(phases)) {
    test(`${name}: its caller cancels the call`, async () => {
      await using s = await scene(phase);
      const controller = new AbortController();
      const gone = watch(s.agents.runAgent(s.request as never, { signal: controller.signal }));
      const runId = await reached(phase, s);
      controller.abort();
      assert.equal((await gone).failure?.code, "Canceled");
      const line = await s.service.line(({ method }) => method === "parley.v1.AgentService/RunAgent");
      assert.equal(line.code, "CANCELLED");
      assert.equal(line.state, "CANCELLED");
      await assertOver(phase, s, runId, RunState.CANCELLED);
    });

    test(`${name}: its caller's connection breaks`, async () => {
      await using s = await scene(phase);
      const sessionManager = new Http2SessionManager(s.service.url);
      const client = createClient(AgentService, createGrpcTransport({ baseUrl: s.service.url, sessionManager }));
      const gone = watch(client.runAgent(s.request as never));
      const runId = await reached(phase, s);
      sessionManager.abort();
      assert.ok((await gone).failure);
      await s.service.line(({ method }) => method === "parley.v1.AgentService/RunAgent");
      await assertOver(phase, s, runId, RunState.CANCELLED);
    });

    test(`${name}: by CancelRun from another connection`, async () => {
      await using s = await scene(phase);
      const all = watch(s.agents.runAgent(s.request as never));
      const runId = await reached(phase, s);
      const other = createClient(AgentService, transports(s.service.url)["Connect over HTTP/1.1"] as Transport);
      const { run } = await other.cancelRun({ runId, reason: "not needed" });
      assert.equal(run?.state, RunState.CANCELLED);
      const seen = await all;
      assert.equal(seen.failure?.code, "Canceled");
      assert.equal(seen.failure?.errorInfo?.reason, "CANCELLED");
      assert.match(seen.failure?.message ?? "", /not needed/);
      assert.equal(seen.finished.run.state, RunState.CANCELLED);
      assert.match(seen.finished.run.error?.message ?? "", /not needed/);
      const again = await assertOver(phase, s, runId, RunState.CANCELLED);
      assert.equal(again.events.length, seen.events.length);
    });

    test(`${name}: by CancelRun, started without a caller`, async () => {
      await using s = await scene(phase);
      await s.agents.createRun({ run: s.request } as never);
      const runId = await reached(phase, s);
      const all = await Promise.all(Array.from({ length: 5 }, () => s.agents.cancelRun({ runId })));
      assert.ok(all.every(({ run }) => run?.state === RunState.CANCELLED));
      await assertOver(phase, s, runId, RunState.CANCELLED);
      const late = await s.agents.cancelRun({ runId, reason: "again" });
      assert.deepEqual(late.run, all[0]?.run);
    });

    if (phase.hasNoDeadline) continue;
    test(`${name}: its deadline passes`, async () => {
      await using s = await scene(phase);
      const budget = { ...phase.request?.budget, deadlineReserve: durationFromMs(0) };
      // The deadline is told to the server alone, so that its own word of it can be heard.
      const client = createClient(AgentService, transports(s.service.url)["Connect over HTTP/2"] as Transport);
      const timed = { headers: { "connect-timeout-ms": "3000" } };
      const all = watch(client.runAgent({ ...s.request, budget } as never, timed));
      const runId = await reached(phase, s);
      const seen = await all;
      assert.equal(seen.failure?.code, "DeadlineExceeded");
      assert.equal(seen.failure?.errorInfo?.reason, "DEADLINE_EXCEEDED");
      assert.equal(seen.kinds.at(-1), "runFinished");
      await assertOver(phase, s, runId, RunState.FAILED);
    });
  }
});

describe("a run that shall go on without its caller", { concurrency: true }, () => {
  const request = { disconnectPolicy: DisconnectPolicy.CONTINUE };
  const steps: readonly Step[] = [looked, { respond: answer, gateAfter: { events: 6, gate: "go" } }];
  const phase: Phase = {
    steps,
    request,
    requests: 2,
    upstream: "client-closed",
    tools: 1,
    hanging: 0,
    last: "messageEvent",
  };

  async function assertGoesOn({ service, agents }: Scene, runId: string): Promise<void> {
    assert.equal((await agents.getRun({ runId })).run?.state, RunState.RUNNING);
    service.simulator.open("go");
    const seen = await watch(agents.attachRun({ runId }));
    assertGapless(seen.events);
    assert.equal(seen.finished.run.state, RunState.SUCCEEDED);
    assert.equal(seen.text, answer.content[0]?.text);
    service.simulator.verify();
  }

  test("does so when the caller cancels the call", async () => {
    await using s = await scene(phase);
    const controller = new AbortController();
    const gone = watch(s.agents.runAgent(s.request as never, { signal: controller.signal }));
    const runId = await reached(phase, s);
    controller.abort();
    assert.equal((await gone).failure?.code, "Canceled");
    await s.service.line(({ method }) => method === "parley.v1.AgentService/RunAgent");
    await assertGoesOn(s, runId);
  });

  test("does so when the caller's connection breaks", async () => {
    await using s = await scene(phase);
    const sessionManager = new Http2SessionManager(s.service.url);
    const client = createClient(AgentService, createGrpcTransport({ baseUrl: s.service.url, sessionManager }));
    const gone = watch(client.runAgent(s.request as never));
    const runId = await reached(phase, s);
    sessionManager.abort();
    assert.ok((await gone).failure);
    await s.service.line(({ method }) => method === "parley.v1.AgentService/RunAgent");
    await assertGoesOn(s, runId);
  });

  test("does so when the deadline of the call passes", async () => {
    await using s = await scene(phase);
    const client = createClient(AgentService, transports(s.service.url)["Connect over HTTP/2"] as Transport);
    const timed = { headers: { "connect-timeout-ms": "1000" } };
    const seen = await watch(client.runAgent(s.request as never, timed));
    assert.equal(seen.failure?.code, "DeadlineExceeded");
    await assertGoesOn(s, seen.id);
  });

  test("is stopped by CancelRun all the same", async () => {
    await using s = await scene(phase);
    const all = watch(s.agents.runAgent(s.request as never));
    const runId = await reached(phase, s);
    await s.agents.cancelRun({ runId });
    assert.equal((await all).failure?.code, "Canceled");
    await assertOver(phase, s, runId, RunState.CANCELLED);
  });
});

describe("CancelRun", () => {
  test("leaves a run that has ended as it is", async () => {
    await using s = await scene({ ...(phases["before the headers"] as Phase), steps: [says("Done.")] });
    const seen = await watch(s.agents.runAgent(s.request as never));
    const { run } = await s.agents.cancelRun({ runId: seen.id });
    assert.deepEqual(run, seen.finished.run);
    assert.equal(run?.state, RunState.SUCCEEDED);
  });

  test("of a run that there is not is NOT_FOUND", async () => {
    await using s = await scene(phases["before the headers"] as Phase);
    assert.equal((await failureOf(s.agents.cancelRun({ runId: "run_nonsense" }))).code, "NotFound");
  });

  test("lets other runs be", async () => {
    const tools = makeTools();
    await using service = await startAgents(tools, undefined);
    service.simulator.run({
      steps: [
        { ...calls(["hang"]), expect: { contains: "First." } },
        { ...says("Done."), expect: { contains: "Second." }, gate: "go" },
      ],
      anyOrder: true,
    });
    const agents = service.client(AgentService);
    const started = await Promise.all(
      ["First.", "Second."].map((text) =>
        agents.createRun({ run: ask(tools, { chat: { messages: [{ role: 1, text }] } }) } as never),
      ),
    );
    const [first = "", second = ""] = started.map(({ run }) => run?.id);
    await tools.begun(1);
    await agents.cancelRun({ runId: first });
    service.simulator.open("go");
    const seen = await watch(agents.attachRun({ runId: second }));
    assert.equal(seen.finished.run.state, RunState.SUCCEEDED);
  });
});

/** What runs could leave behind in this process. */
function left(service: Service) {
  const all = process.getActiveResourcesInfo();
  return { timers: all.filter((name) => name === "Timeout").length, connections: service.server.connections };
}

test("hundreds of runs, cancelled in every phase, leave no timers and no listeners behind", async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on("warning", onWarning);
  const tools = makeTools();
  await using service = await startAgents(tools, undefined, { config: { logLevel: "info", runs: { active: 5_000 } } });
  const agents = service.client(AgentService);
  const many = calls(...Array.from({ length: 40 }, (_, n) => [n % 2 === 0 ? "hang" : "narrow", { n }] as const));
  const ends: Record<string, Phase> = {
    ...phases,
    "while many tools are at work and wait": {
      ...(phases["while tools are at work"] as Phase),
      steps: [many],
      request: { maxParallelToolCalls: 64 },
    },
  };

  async function round(times: number): Promise<void> {
    for (const { steps, request, requests } of Object.values(ends)) {
      service.simulator.run({
        steps: steps.map((step, index) => ({ ...step, times, expect: { contains: index === 0 ? "Go." : "seen" } })),
        anyOrder: true,
      });
      const controller = new AbortController();
      const gone = Array.from({ length: times }, () =>
        watch(agents.runAgent(ask(tools, request) as never, { signal: controller.signal })),
      );
      for (let request = 0; request < times * requests; request++) await service.simulator.nextRequest();
      controller.abort();
      for (const { failure } of await Promise.all(gone)) assert.equal(failure?.code, "Canceled");
      for (let ended = 0; ended < times; ended++) await service.nextCall();
      while (service.simulator.activeRequests > 0) await turn();
    }
  }

  await round(5);
  const before = left(service);
  await round(30);
  for (let rounds = 0; rounds < 100 && left(service).timers > before.timers; rounds++) await turn();
  assert.deepEqual(left(service), before);
  assert.ok(tools.calls.every(({ tool, context }) => tool === "look" || context.signal.aborted));
  assert.deepEqual(warnings, []);
  process.off("warning", onWarning);
});
