import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import fc from "fast-check";
import {
  ActionKind,
  type AgentEvent,
  AgentEventSchema,
  AgentService,
  type PendingAction,
  type RunAgentRequestSchema,
  RunState,
} from "../../gen/parley/v1/agent_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { toldBy } from "../support/details.ts";
import { budgetOf, type FuzzedRun, fuzzedRun, fuzzTools, scriptOf } from "../support/fuzzed-runs.ts";
import { assertGapless, type SeenRun, startAgents, watch } from "../support/runs.ts";
import type { ScriptedTools } from "../support/scripted-tools.ts";

/** More by hand: FUZZ_RUNS=5000. */
const numRuns = Number(process.env.FUZZ_RUNS ?? 60);

const mine = { kind: { case: "custom", value: { name: "mine", inputSchemaJson: '{"type":"object"}' } } } as const;
const search = { kind: { case: "nativeJson", value: '{"type":"web_search_20250305","name":"web_search"}' } } as const;

function answerTo({ toolUseId, kind }: PendingAction, approved: boolean) {
  return kind === ActionKind.EXECUTE
    ? { toolUseId, answer: { case: "result", value: { toolUseId, text: "mine", isError: !approved } } }
    : { toolUseId, answer: { case: "approval", value: { approved, reason: "no reason" } } };
}

type Agents = Client<typeof AgentService>;

/** A caller of a fuzzed run. Answers what it asks, stops it, resumes it. Returns all events that it saw. */
async function drive(fuzzed: FuzzedRun, tools: ScriptedTools, agents: Agents): Promise<AgentEvent[]> {
  const { stop, answers } = fuzzed;
  const events: AgentEvent[] = [];
  const work: Promise<unknown>[] = [];
  const controller = new AbortController();
  let answered = 0;
  const onEvent = (event: AgentEvent) => {
    events.push(event);
    const { runId } = event;
    if (event.event.case === "actionRequired") {
      const given = event.event.value.actions.map((action) =>
        answerTo(action, answers[answered++ % answers.length] ?? true),
      );
      work.push(agents.submitToolResults({ runId, answers: given as never }).catch(mayHaveEnded));
    }
    if (stop === undefined || event.sequence !== stop.at) return;
    if (stop.how === "abort") controller.abort();
    else work.push(agents.cancelRun({ runId }));
  };
  const { signal } = controller;
  const registered = tools.tools.map(({ name }) => ({ kind: { case: "registeredTool", value: name } }) as const);
  const request = {
    chat: {
      messages: [{ role: Role.USER, text: "Go." }],
      tools: [...registered, mine, search],
      thinking: { mode: { case: "adaptive" as const, value: {} } },
    },
    budget: budgetOf(fuzzed),
    maxParallelToolCalls: fuzzed.maxParallelToolCalls,
  } satisfies MessageInitShape<typeof RunAgentRequestSchema>;
  let seen = await watch(agents.runAgent(request, { signal }), onEvent);
  const runId = seen.id;
  for (let resumes = fuzzed.resumes; ; resumes--) {
    assertSameEnd(seen);
    // It may wait for the caller, or go on to its end after the caller has hung up.
    await watch(agents.attachRun({ runId, afterSequence: events.length }), onEvent);
    await Promise.all(work);
    const { run } = await agents.getRun({ runId });
    if (run?.state !== RunState.BUDGET_EXHAUSTED || resumes === 0) return events;
    const additionalBudget = {
      maxTurns: 2,
      maxToolCalls: 3,
      maxOutputTokens: 50n,
      maxDuration: durationFromMs(50),
    };
    seen = await watch(agents.resumeRun({ runId, additionalBudget }, { signal }), onEvent);
  }
}

/** What was cancelled waits for nobody any more. */
function mayHaveEnded(error: unknown): void {
  assert.equal(toldBy(error).code, "FailedPrecondition");
}

/** A stream that told of the end of the run ended with the status of the run. */
function assertSameEnd(seen: SeenRun): void {
  const [finished] = seen.of("runFinished").slice(-1);
  if (finished === undefined || seen.failure?.code === "Canceled") return;
  assert.equal(seen.failure?.message, finished.run?.error?.message);
}

const ends = [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.BUDGET_EXHAUSTED];

test("whatever tools, callers and Claude do, a run ends, tells all of it, and asks Claude nothing that is refused", async (t) => {
  const unhandled: unknown[] = [];
  const onUnhandled = (error: unknown) => unhandled.push(error);
  process.on("unhandledRejection", onUnhandled);
  const ended = new Map<string, number>();
  const property = fc.asyncProperty(fuzzedRun, async (fuzzed) => {
    const upstream: string[] = [];
    const tools = fuzzTools();
    await using service = await startAgents(tools, undefined, {
      config: { claude: { idleTimeout: 400, firstByteTimeout: 400 }, runs: { resultBytes: 1_024 } },
      simulator: { log: (line) => upstream.push(line) },
      script: scriptOf(fuzzed),
    });
    const agents = service.client(AgentService);
    const live = await drive(fuzzed, tools, agents);
    while (service.simulator.activeRequests > 0) await turn();
    assert.deepEqual(
      upstream.filter((line) => / 40\d /.test(line)),
      [],
    );

    const runId = live[0]?.runId ?? "";
    const seen = await watch(agents.attachRun({ runId }));
    assert.equal(seen.failure, undefined);
    // What the caller saw, over several calls, is all that there is.
    assertGapless(live);
    assert.deepEqual(live.map(bytes), seen.events.map(bytes));

    const { run } = seen.finished;
    assert.ok(ends.includes(run.state));
    const how = `${RunState[run.state]} ${run.error?.message ?? ""}`;
    ended.set(how, (ended.get(how) ?? 0) + 1);
    assert.equal(run.lastSequence, seen.events.length);
    assert.doesNotMatch(run.error?.message ?? "", /Unexpected request/);
    assert.equal(seen.of("runFinished").length, 1 + seen.of("runResumed").length);
    assert.equal(seen.of("turnStarted").length, seen.of("turnFinished").length);
    assert.equal(run.turns, seen.of("turnStarted").length);
    if (run.state === RunState.SUCCEEDED || run.state === RunState.BUDGET_EXHAUSTED) assertCallsAnswered(seen);
    assert.deepEqual(unhandled, []);
  });
  try {
    await fc.assert(property, { numRuns });
  } finally {
    process.off("unhandledRejection", onUnhandled);
  }
  t.diagnostic(JSON.stringify(Object.fromEntries(ended)));
});

function bytes(event: AgentEvent): string {
  return Buffer.from(toBinary(AgentEventSchema, event)).toString("base64");
}

/** Each call that was begun is finished, once. */
function assertCallsAnswered(seen: SeenRun): void {
  const finished = seen.of("toolCallFinished").map(({ toolUseId }) => toolUseId);
  assert.equal(new Set(finished).size, finished.length);
  for (const { toolUseId } of seen.of("toolCallStarted")) assert.ok(finished.includes(toolUseId), toolUseId);
}
