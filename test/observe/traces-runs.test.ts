import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import { AgentService, DisconnectPolicy } from "../../gen/parley/v1/agent_service_pb.js";
import { approve } from "../runs/clients.ts";
import { ask, calls, says, watch } from "../support/runs.ts";
import { hang, ScriptedTools } from "../support/scripted-tools.ts";
import { type CallerSpan, outline } from "../support/traces.ts";
import { startTraced } from "./traced-service.ts";

const WORK = "invoke_agent parley";
const rpc = (name: string) => `parley.v1.AgentService/${name}`;

const tools = () =>
  new ScriptedTools({
    look: () => "seen",
    hang,
    pay: [{ requiresApproval: true, sideEffect: "mutating" }, () => "paid"],
  });

function linksOf({ links }: ReadableSpan): string[] {
  return links.map(({ context }) => context.spanId);
}

function idOf(span: ReadableSpan): string {
  return span.spanContext().spanId;
}

/** The line of the log for a run that has ended. */
function runLine(lines: readonly Record<string, unknown>[]): Record<string, unknown> {
  const found = lines.filter(({ msg }) => msg === "run");
  assert.equal(found.length, 1);
  return found[0] ?? {};
}

describe("a run that outlives the call that has begun it", () => {
  test("is in the trace of CreateRun, and those who attach to it or cancel it are linked to it", async () => {
    await using traced = await startTraced({
      script: { steps: [calls(["hang"])] },
      overrides: { tools: tools() },
    });
    const { service, traces } = traced;
    const agents = service.client(AgentService);
    let runId = "";
    const creator = await traces.caller(async (headers) => {
      const { run } = await agents.createRun({ run: ask(["hang"]) as never }, { headers });
      runId = run?.id ?? "";
    });
    let cancelled: Promise<CallerSpan> | undefined;
    const watcher = await traces.caller((headers) =>
      watch(agents.attachRun({ runId }, { headers }), ({ event }) => {
        if (event.case !== "toolCallStarted") return;
        assert.ok([...traces.open].some(({ name }) => name === WORK));
        cancelled = traces.caller((other) => agents.cancelRun({ runId }, { headers: other }));
      }),
    );
    const canceller = await cancelled;
    assert.ok(canceller);
    await traces.settled();
    assert.deepEqual(outline(creator.spans), [
      "caller",
      `  ${rpc("CreateRun")}`,
      `    ${WORK} !CANCELLED`,
      "      turn",
      "        chat claude-sonnet-5-5",
      "      execute_tool hang !CANCELLED",
    ]);
    assert.deepEqual(outline(watcher.spans).slice(0, 2), ["caller", `  ${rpc("AttachRun")}`]);
    assert.deepEqual(outline(canceller.spans), ["caller", `  ${rpc("CancelRun")}`]);
    const work = creator.span(WORK);
    for (const span of [watcher.span(rpc("AttachRun")), canceller.span(rpc("CancelRun"))]) {
      assert.deepEqual(linksOf(span), [idOf(work)]);
      assert.equal(span.attributes["parley.run.id"], runId);
    }
    assert.deepEqual(linksOf(creator.span(rpc("CreateRun"))), []);
    const line = runLine(traced.lines);
    assert.equal(line.trace_id, creator.traceId);
    assert.equal(line.span_id, idOf(work));
    assert.equal(line.call, creator.span(rpc("CreateRun")).attributes["parley.call.id"]);
  });

  test("and goes on without it ends after it, in the same trace", async () => {
    const respond = { content: [{ text: "Hello, you there, and everyone else" }] };
    await using traced = await startTraced({ script: { steps: [{ respond, gateAfter: { events: 6, gate: "go" } }] } });
    const { service, traces } = traced;
    const agents = service.client(AgentService);
    const leaving = new AbortController();
    let runId = "";
    const caller = await traces.caller(async (headers) => {
      const request = ask([], { disconnectPolicy: DisconnectPolicy.CONTINUE });
      const seen = await watch(
        agents.runAgent(request as never, { headers, signal: leaving.signal }),
        ({ event, ...rest }) => {
          runId = rest.runId;
          if (event.case === "messageEvent" && event.value.event.case === "contentBlockDelta") leaving.abort();
        },
      );
      assert.equal(seen.failure?.code, "Canceled");
    });
    await traces.span(({ name }) => name === rpc("RunAgent"));
    assert.ok([...traces.open].some(({ name }) => name === WORK));
    service.simulator.open("go");
    const watcher = await traces.caller((headers) => watch(agents.attachRun({ runId }, { headers })));
    await traces.settled();
    assert.deepEqual(outline(caller.spans), [
      "caller",
      `  ${rpc("RunAgent")} ?CANCELLED`,
      `    ${WORK}`,
      "      turn",
      "        chat claude-sonnet-5-5",
    ]);
    const server = caller.span(rpc("RunAgent"));
    assert.deepEqual(linksOf(server), []);
    assert.deepEqual(linksOf(watcher.span(rpc("AttachRun"))), [idOf(caller.span(WORK))]);
    assert.equal(caller.span(WORK).attributes["parley.run.state"], "SUCCEEDED");
  });
});

describe("the stretches of a run", () => {
  test("are linked, and the one after an action is in the trace of who has acted", async () => {
    await using traced = await startTraced({
      script: { steps: [calls(["pay", {}, "toolu_1"]), says("Paid.")] },
      overrides: { tools: tools() },
    });
    const { service, traces } = traced;
    const agents = service.client(AgentService);
    let runId = "";
    const first = await traces.caller(async (headers) => {
      const seen = await watch(agents.runAgent(ask(["pay"]) as never, { headers }));
      assert.equal(seen.kinds.at(-1), "actionRequired");
      runId = seen.id;
    });
    await traces.settled();
    const second = await traces.caller((headers) =>
      agents.submitToolResults({ runId, answers: [approve("toolu_1")] }, { headers }),
    );
    await watch(agents.attachRun({ runId }));
    await traces.settled();
    const turn = ["      turn", "        chat claude-sonnet-5-5"];
    assert.deepEqual(outline(first.spans), ["caller", `  ${rpc("RunAgent")}`, `    ${WORK}`, ...turn]);
    assert.equal(first.span(WORK).attributes["parley.run.state"], "REQUIRES_ACTION");
    assert.deepEqual(linksOf(first.span(WORK)), []);
    assert.deepEqual(outline(second.spans), [
      "caller",
      `  ${rpc("SubmitToolResults")}`,
      `    ${WORK}`,
      "      execute_tool pay",
      ...turn,
    ]);
    const before = idOf(first.span(WORK));
    assert.deepEqual(linksOf(second.span(rpc("SubmitToolResults"))), [before]);
    assert.deepEqual(linksOf(second.span(WORK)), [before]);
    assert.equal(second.span(WORK).attributes["parley.run.state"], "SUCCEEDED");
    const line = runLine(traced.lines);
    assert.equal(line.trace_id, second.traceId);
    assert.equal(line.call, second.span(rpc("SubmitToolResults")).attributes["parley.call.id"]);
  });

  test("are linked when it is resumed, and the one after that is in the trace of ResumeRun", async () => {
    await using traced = await startTraced({
      script: { steps: [calls(["look"]), says("So far."), says("All.")] },
      overrides: { tools: tools() },
    });
    const { service, traces } = traced;
    const agents = service.client(AgentService);
    let runId = "";
    const first = await traces.caller(async (headers) => {
      const seen = await watch(agents.runAgent(ask(["look"], { budget: { maxTurns: 1 } }) as never, { headers }));
      runId = seen.id;
    });
    await traces.settled();
    const second = await traces.caller(async (headers) => {
      const seen = await watch(agents.resumeRun({ runId, additionalBudget: { maxTurns: 5 } }, { headers }));
      assert.equal(seen.text, "All.");
    });
    await traces.settled();
    assert.equal(first.span(WORK).attributes["parley.run.state"], "BUDGET_EXHAUSTED");
    assert.equal(first.span(WORK).attributes["parley.run.exhausted_budget"], "TURNS");
    assert.deepEqual(outline(second.spans), [
      "caller",
      `  ${rpc("ResumeRun")}`,
      `    ${WORK}`,
      "      turn",
      "        chat claude-sonnet-5-5",
    ]);
    assert.deepEqual(linksOf(second.span(WORK)), [idOf(first.span(WORK))]);
    assert.deepEqual(linksOf(second.span(rpc("ResumeRun"))), []);
  });

  test("do not last while it waits: one that is cancelled then leaves no span open", async () => {
    await using traced = await startTraced({
      script: { steps: [calls(["pay"])] },
      overrides: { tools: tools() },
    });
    const { service, traces } = traced;
    const agents = service.client(AgentService);
    const runner = await traces.caller((headers) => watch(agents.runAgent(ask(["pay"]) as never, { headers })));
    await traces.settled();
    const { runs } = await agents.listRuns({});
    const canceller = await traces.caller((headers) => agents.cancelRun({ runId: runs[0]?.id ?? "" }, { headers }));
    await traces.settled();
    assert.deepEqual(linksOf(canceller.span(rpc("CancelRun"))), [idOf(runner.span(WORK))]);
    assert.equal(runLine(traced.lines).trace_id, runner.traceId);
  });
});

test("a call that finds its run begun by another is linked to that", async () => {
  await using traced = await startTraced({ script: { steps: [says("Hello.")] } });
  const { service, traces } = traced;
  const agents = service.client(AgentService);
  const request = ask([], { chat: { requestId: "once" } });
  const first = await traces.caller((headers) => watch(agents.runAgent(request as never, { headers })));
  const second = await traces.caller((headers) => watch(agents.runAgent(request as never, { headers })));
  const third = await traces.caller((headers) => agents.createRun({ run: request as never }, { headers }));
  await traces.settled();
  assert.deepEqual(linksOf(first.span(rpc("RunAgent"))), []);
  for (const span of [second.span(rpc("RunAgent")), third.span(rpc("CreateRun"))]) {
    assert.deepEqual(linksOf(span), [idOf(first.span(WORK))]);
  }
});
