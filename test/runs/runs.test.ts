import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import {
  AgentService,
  DisconnectPolicy,
  RunAgentRequestSchema,
  RunState,
} from "../../gen/parley/v1/agent_service_pb.js";
import { SideEffect, ToolService } from "../../gen/parley/v1/tool_service_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { ask, calls, type RunInput, run, says, startAgents, textOf, watch } from "../support/runs.ts";
import { hang, ScriptedTools } from "../support/scripted-tools.ts";
import type { Service, ServiceOptions } from "../support/service.ts";
import { envelope, openHttp2 } from "../support/wire.ts";
import { bytesOf, newCaller, newClient } from "./clients.ts";

const noTools = () => new ScriptedTools({});
const start = (steps: Script["steps"], options: ServiceOptions = {}) => startAgents(noTools(), steps, options);

/** Starts a run in the background. */
async function createRun(service: Service, request: RunInput = ask([])) {
  const { run: created, existing } = await newClient(service).createRun({ run: request as never });
  return { id: created?.id ?? "", state: created?.state, existing };
}

/** Resolves when a run has ended. */
async function ended(service: Service, runId: string) {
  return watch(newClient(service).attachRun({ runId }));
}

const gated = (text: string, gate: string): Script["steps"][number] => ({ ...says(text), gate });

describe("CreateRun", { timeout: 60_000 }, () => {
  test("returns at once, and the run goes on without its caller", async () => {
    await using service = await start([gated("Done.", "gone")]);
    const caller = newCaller(service);
    const request = ask([], { disconnectPolicy: DisconnectPolicy.CANCEL, chat: { labels: { team: "orders" } } });
    const { run: created, existing } = await caller.agents.createRun({ run: request as never });
    assert.match(created?.id ?? "", /^run_[0-9a-f]{32}$/);
    assert.deepEqual([created?.state, existing], [RunState.RUNNING, false]);
    assert.deepEqual(created?.labels, { team: "orders" });
    assert.ok(created?.createTime && !created.finishTime && !created.expireTime);
    caller.loseConnection();
    const runId = created?.id ?? "";
    const client = newClient(service);
    const before = await client.getRun({ runId });
    assert.deepEqual([before.run?.state, before.finalMessage], [RunState.RUNNING, undefined]);
    service.simulator.open("gone");
    await ended(service, runId);
    const after = await client.getRun({ runId });
    assert.equal(after.run?.state, RunState.SUCCEEDED);
    assert.equal(textOf(after.finalMessage), "Done.");
    assert.equal(after.run?.turns, 1);
    assert.ok((after.run?.usage?.outputTokens ?? 0) > 0);
    const { finishTime, expireTime } = after.run ?? {};
    assert.ok(finishTime && expireTime);
    const kept = timestampMs(expireTime) - timestampMs(finishTime);
    assert.ok(Math.abs(kept - service.config.runs.retention) < 1_000, `${kept} ms`);
  });

  test("keeps what a run has failed with", async () => {
    const error = { type: "invalid_request_error", message: "messages: no" };
    await using service = await start([{ respond: { status: 400, error } }]);
    const { id } = await createRun(service);
    const seen = await ended(service, id);
    assert.equal(seen.failure, undefined);
    const { run: failed, finalMessage } = await newClient(service).getRun({ runId: id });
    assert.equal(failed?.state, RunState.FAILED);
    assert.match(failed?.error?.message ?? "", /messages: no/);
    assert.ok(failed?.error?.details.some(({ typeUrl }) => typeUrl.endsWith("google.rpc.ErrorInfo")));
    assert.equal(finalMessage, undefined);
  });

  test("may hold back for the last answer as much as it likes", async () => {
    await using service = await start([says("Done.")]);
    const { id } = await createRun(service, ask([], { budget: { deadlineReserve: { seconds: 315_576_000_000n } } }));
    assert.equal((await ended(service, id)).finished.run.state, RunState.SUCCEEDED);
  });
});

describe("a run that was asked for twice", { timeout: 60_000 }, () => {
  const request = (more: object = {}) => ask([], { chat: { requestId: "order-7", ...more } });

  test("is created once, while it is at work and after its end", async () => {
    await using service = await start([gated("Done.", "asked twice")]);
    const first = await createRun(service, request());
    const second = await createRun(service, request());
    assert.deepEqual([first.existing, second.existing, second.id], [false, true, first.id]);
    service.simulator.open("asked twice");
    await ended(service, first.id);
    const third = await createRun(service, request());
    assert.deepEqual([third.existing, third.id, third.state], [true, first.id, RunState.SUCCEEDED]);
    assert.equal(service.simulator.requests.length, 1);
  });

  test("is created once, also by ten callers at the same time", async () => {
    await using service = await start([says("Done.")]);
    const all = await Promise.all(Array.from({ length: 10 }, () => createRun(service, request())));
    assert.equal(new Set(all.map(({ id }) => id)).size, 1);
    assert.equal(all.filter(({ existing }) => !existing).length, 1);
    await ended(service, all[0]?.id ?? "");
    assert.equal(service.simulator.requests.length, 1);
  });

  test("is followed from its start by the second RunAgent, whose hang-up does not end it", async () => {
    const tools = new ScriptedTools({ look: () => "seen" });
    const steps = [calls(["look"]), { ...says("Done."), gateAfter: { events: 5, gate: "followed" } }];
    await using service = await startAgents(tools, steps);
    const input = ask(tools, { chat: { requestId: "order-7" } });
    const begun = Promise.withResolvers<void>();
    const first = watch(newClient(service).runAgent(input as never), ({ event }) => {
      if (event.case === "toolCallFinished") begun.resolve();
    });
    await begun.promise;
    const controller = new AbortController();
    const leaving = await watch(newClient(service).runAgent(input as never, { signal: controller.signal }), () =>
      controller.abort(),
    );
    assert.equal(leaving.failure?.code, "Canceled");
    // It does not wait for the run to end.
    assert.equal((await service.nextCall()).code, "CANCELLED");
    const second = watch(newClient(service).runAgent(input as never), () => service.simulator.open("followed"));
    assert.deepEqual(bytesOf((await second).events), bytesOf((await first).events));
    const third = await run(service, input);
    assert.deepEqual(bytesOf(third.events), bytesOf((await first).events));
    assert.equal(third.text, "Done.");
    assert.equal(tools.calls.length, 1);
  });

  const others: Record<string, RunInput> = {
    "another question": request({ system: { text: "Be brief." } }),
    "another budget": { ...request(), budget: { maxTurns: 3 } },
    "another policy": { ...request(), disconnectPolicy: DisconnectPolicy.CONTINUE },
  };
  for (const [name, other] of Object.entries(others)) {
    test(`must be asked for in the same way, and not with ${name}`, async () => {
      await using service = await start([gated("Done.", "never")]);
      await createRun(service, request());
      for (const [field, call] of [
        ["chat.request_id", () => newClient(service).runAgent(other as never)],
        ["run.chat.request_id", () => newClient(service).createRun({ run: other as never })],
      ] as const) {
        const told = await failureOf(call());
        assert.equal(told.code, "InvalidArgument");
        assert.equal(told.badRequest?.fieldViolations[0]?.field, field);
      }
      assert.equal((await newClient(service).listRuns({})).runs.length, 1);
    });
  }

  test("is the same when its labels come in another order", async () => {
    await using service = await start([gated("Done.", "never")]);
    const [one, other] = [
      { a: "1", b: "2" },
      { b: "2", a: "1" },
    ].map((labels) => request({ labels }));
    const bytes = [one, other].map((input) =>
      Buffer.from(toBinary(RunAgentRequestSchema, create(RunAgentRequestSchema, input as never))),
    );
    assert.notDeepEqual(bytes[0], bytes[1]);
    const first = await createRun(service, one);
    assert.equal((await createRun(service, other)).id, first.id);
  });

  test("starts anew when it was cancelled, or has failed", async () => {
    const failing = { respond: { status: 400, error: { type: "invalid_request_error", message: "no" } } };
    await using service = await start([gated("Done.", "never"), failing, says("Done.")]);
    const cancelled = await createRun(service, request());
    await newClient(service).cancelRun({ runId: cancelled.id });
    const failed = await run(service, request({ system: { text: "Be brief." } }));
    assert.equal(failed.failure?.code, "InvalidArgument");
    const third = await run(service, request());
    assert.equal(third.text, "Done.");
    assert.equal(new Set([cancelled.id, failed.id, third.id]).size, 3);
  });

  test("is found also when no more can be started", async () => {
    await using service = await start([gated("Done.", "never")], { config: { runs: { active: 1 } } });
    const first = await createRun(service, request());
    assert.deepEqual((await createRun(service, request())).id, first.id);
    const told = await failureOf(newClient(service).createRun({ run: request({ requestId: "order-8" }) as never }));
    assert.equal(told.errorInfo?.reason, "RUN_LIMIT_REACHED");
  });
});

test("a run whose caller cannot follow it any more ends with its call", { timeout: 60_000 }, async () => {
  const tools = new ScriptedTools({ hang: hang as never });
  const content = [{ text: "x".repeat(300_000) }, ...(calls(["hang"]).respond?.content ?? [])];
  await using service = await startAgents(tools, [{ respond: { content, stop_reason: "tool_use" } }], {
    config: { runs: { memory: 64 * 1_024 } },
  });
  const input = create(RunAgentRequestSchema, ask(tools) as never);
  const session = openHttp2(service.url);
  const stream = session.request({
    ":method": "POST",
    ":path": "/parley.v1.AgentService/RunAgent",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.end(envelope(toBinary(RunAgentRequestSchema, input)));
  await once(stream, "response");
  await tools.begun(1);
  // It has read nothing yet, and what it has missed is not there any more.
  stream.resume();
  assert.equal((await service.nextCall()).reason, "RUN_EVENTS_EXPIRED");
  const line = await service.line(({ msg }) => msg === "run");
  assert.deepEqual([line.state, line.reason], ["CANCELLED", "CANCELLED"]);
  assert.ok(tools.calls[0]?.context.signal.aborted);
  session.destroy();
});

describe("ListRuns", { timeout: 60_000 }, () => {
  test("has the caller's runs, the newest first, page by page and by state", async () => {
    const failing = { respond: { status: 400, error: { type: "invalid_request_error", message: "no" } } };
    const steps = Array.from({ length: 9 }, (_, index) => (index % 3 === 0 ? failing : says("Done.")));
    await using service = await start(steps);
    const ids: string[] = [];
    for (const _ of steps) ids.push((await run(service, ask([]))).id);
    const client = newClient(service);
    const newest = [...ids].sort().reverse();
    const { runs: all, nextPageToken: none } = await client.listRuns({});
    assert.deepEqual(
      all.map(({ id }) => id),
      newest,
    );
    assert.equal(none, "");
    const times = all.map(({ createTime }) => (createTime ? timestampMs(createTime) : 0));
    assert.deepEqual(
      times,
      [...times].sort((one, other) => other - one),
    );
    for (const pageSize of [1, 4, 9, 1_000]) {
      const pages: string[] = [];
      let pageToken = "";
      do {
        const page = await client.listRuns({ pageSize, pageToken });
        assert.ok(page.runs.length > 0 && page.runs.length <= pageSize);
        pages.push(...page.runs.map(({ id }) => id));
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      assert.deepEqual(pages, newest);
    }
    const { runs: failed } = await client.listRuns({ states: [RunState.FAILED, RunState.RUNNING] });
    assert.deepEqual(new Set(failed.map(({ id }) => id)), new Set(ids.filter((_, index) => index % 3 === 0)));
    const { runs: running } = await client.listRuns({ states: [RunState.RUNNING] });
    assert.deepEqual(running, []);
  });
});

describe("CancelRun", { timeout: 60_000 }, () => {
  test("stops a run, once and for all, and tells its caller and those who watch", async () => {
    await using service = await start([{ ...says("A long answer"), gateAfter: { events: 3, gate: "never" } }]);
    const begun = Promise.withResolvers<string>();
    const running = watch(service.client(AgentService).runAgent(ask([]) as never), ({ event, runId }) => {
      if (event.case === "messageEvent") begun.resolve(runId);
    });
    const runId = await begun.promise;
    const watching = ended(service, runId);
    const upstream = await service.simulator.nextRequest();
    const all = await Promise.all(
      Array.from({ length: 5 }, () => newClient(service).cancelRun({ runId, reason: "too dear" })),
    );
    for (const { run: cancelled } of all) assert.equal(cancelled?.state, RunState.CANCELLED);
    assert.equal((await upstream.ended).how, "client-closed");
    const seen = await running;
    assert.equal(seen.failure?.code, "Canceled");
    assert.match(seen.failure?.message ?? "", /too dear/);
    assert.ok(seen.failure?.partialOutput?.usage);
    assert.equal(seen.finished.run.state, RunState.CANCELLED);
    assert.equal((await watching).failure, undefined);
    assert.equal(seen.of("runFinished").length, 1);
    const { run: again } = await newClient(service).cancelRun({ runId, reason: "again" });
    assert.equal(again?.lastSequence, seen.events.length);
  });

  test("leaves a run that has ended as it is", async () => {
    await using service = await start([says("Done.")]);
    const { id, events } = await run(service, ask([]));
    const { run: after } = await newClient(service).cancelRun({ runId: id });
    assert.deepEqual([after?.state, after?.lastSequence], [RunState.SUCCEEDED, events.length]);
  });
});

describe("the service", { timeout: 60_000 }, () => {
  test("has no more active runs than it may, and says when to try again", async () => {
    await using service = await start([gated("Done.", "full"), gated("Done.", "full"), says("Third.")], {
      config: { runs: { active: 2 } },
    });
    const [first] = await Promise.all([createRun(service), createRun(service)]);
    for (const call of [
      () => newClient(service).createRun({ run: ask([]) as never }),
      () => newClient(service).runAgent(ask([]) as never),
    ]) {
      const told = await failureOf(call());
      assert.equal(told.code, "ResourceExhausted");
      assert.equal(told.errorInfo?.reason, "RUN_LIMIT_REACHED");
      assert.equal(told.errorInfo?.metadata.retryable, "true");
      assert.equal(told.retryInfo?.retryDelay?.seconds, 1n);
      assert.equal(told.quotaFailure?.violations[0]?.subject, "active-runs");
    }
    await newClient(service).cancelRun({ runId: first?.id ?? "" });
    assert.equal((await run(service, ask([]))).text, "Third.");
  });

  test("forgets a run when it has been kept as long as it is to be", async () => {
    await using service = await start([says("Done."), says("Again.")], { config: { runs: { retention: 1 } } });
    const input = ask([], { chat: { requestId: "order-7" } });
    const { id, events } = await run(service, input);
    const client = newClient(service);
    // It sees the end of the run, and asks again until there is none.
    let told: Awaited<ReturnType<typeof failureOf>> | undefined;
    while (told === undefined) {
      told = await failureOf(client.attachRun({ runId: id, afterSequence: events.length })).catch(() => undefined);
    }
    assert.equal(told.code, "NotFound");
    assert.equal((await failureOf(client.getRun({ runId: id }))).resourceInfo?.resourceName, id);
    assert.deepEqual((await client.listRuns({})).runs, []);
    assert.equal((await run(service, input)).text, "Again.");
  });

  test("waits with its shutdown for runs that nobody watches", async () => {
    await using service = await start([gated("Done.", "draining")], { config: { server: { drain: 30_000 } } });
    const { id } = await createRun(service);
    await service.simulator.nextRequest();
    const shutDown = service.server.shutDown();
    service.simulator.open("draining");
    await shutDown;
    const line = service.logs.find(({ msg }) => msg === "run");
    assert.deepEqual([line?.run, line?.state], [id, "SUCCEEDED"]);
  });

  test("interrupts them when the time for that is up, and does not wait for those that wait themselves", async () => {
    const tools = new ScriptedTools({ sell: [{ requiresApproval: true }, () => "sold"] });
    await using service = await startAgents(tools, [calls(["sell"]), gated("Done.", "never")], {
      config: { server: { drain: 50 } },
    });
    const waiting = await run(service, ask(tools));
    const { id } = await createRun(service);
    await service.simulator.nextRequest();
    const upstream = await service.simulator.nextRequest();
    await service.server.shutDown();
    assert.equal((await upstream.ended).how, "client-closed");
    const lines = service.logs.filter(({ msg }) => msg === "run");
    assert.deepEqual(
      new Map(lines.map((line) => [line.run, [line.state, line.reason, line.level]])),
      new Map([
        [waiting.id, ["INTERRUPTED", "SHUTTING_DOWN", lines[0]?.level]],
        [id, ["INTERRUPTED", "SHUTTING_DOWN", lines[0]?.level]],
      ]),
    );
  });

  test("logs each run and each call of one, and no content of theirs", async () => {
    const secret = "a-secret-word";
    const tools = new ScriptedTools({
      look: () => secret,
      fail: () => {
        throw new Error("broken");
      },
      sell: [{ requiresApproval: true }, () => secret],
    });
    const steps = [calls(["look", { secret }], ["fail"]), calls(["sell", { secret }]), says(secret)];
    await using service = await startAgents(tools, steps);
    const chat = { messages: [{ role: 1, text: secret }], labels: { team: "orders" } };
    const { chat: asked } = ask(tools, { chat });
    const first = await run(service, { chat: asked });
    const client = newClient(service);
    const approval = { case: "approval", value: { approved: true, reason: secret } } as const;
    await client.submitToolResults({ runId: first.id, answers: [{ toolUseId: "toolu_sell_0", answer: approval }] });
    const rest = await watch(client.attachRun({ runId: first.id, afterSequence: first.events.length }));
    assert.equal(rest.text, secret);
    const ran = await service.line(({ msg }) => msg === "run");
    assert.deepEqual(
      [ran.run, ran.state, ran.turns, ran.tool_calls, ran.caller, ran.labels],
      [first.id, "SUCCEEDED", 3, 3, "anonymous", { team: "orders" }],
    );
    assert.ok(Number((ran.usage as { output?: number }).output) > 0);
    const attached = await service.line(({ msg, method }) => msg === "call" && String(method).endsWith("/AttachRun"));
    assert.deepEqual([attached.run, attached.code, attached.turns], [first.id, "OK", 3]);
    const called = await service.line(({ msg, method }) => msg === "call" && String(method).endsWith("/RunAgent"));
    assert.deepEqual([called.run, called.labels], [first.id, { team: "orders" }]);
    await service.line(({ msg, tool }) => msg === "a tool has thrown" && tool === "fail");
    assert.equal(service.logs.filter(({ msg }) => msg === "run").length, 1);
    assert.ok(!JSON.stringify(service.logs).includes(secret));
  });
});

describe("requests that are wrong name their fields", { timeout: 60_000 }, () => {
  const answer = { case: "approval", value: { approved: true } } as const;
  type Agents = ReturnType<typeof newClient>;
  const wrong: Record<string, readonly [(agents: Agents) => Promise<unknown> | AsyncIterable<unknown>, ...string[]]> = {
    "a run without a chat": [(agents) => agents.runAgent({}), "chat"],
    "no run to create": [(agents) => agents.createRun({}), "run"],
    "a run to create without a chat": [(agents) => agents.createRun({ run: {} }), "run.chat"],
    "too many tool calls at a time": [
      (agents) => agents.runAgent(ask([], { maxParallelToolCalls: 65 }) as never),
      "max_parallel_tool_calls",
    ],
    "a policy that is not known": [
      (agents) => agents.runAgent(ask([], { disconnectPolicy: 7 as never }) as never),
      "disconnect_policy",
    ],
    "budgets that allow nothing": [
      (agents) =>
        agents.runAgent(
          ask([], {
            budget: {
              maxTurns: 0,
              maxToolCalls: -1,
              maxOutputTokens: 0n,
              maxDuration: {},
              deadlineReserve: { seconds: -1n },
            },
          }) as never,
        ),
      "budget.max_turns",
      "budget.max_tool_calls",
      "budget.max_output_tokens",
      "budget.max_duration",
      "budget.deadline_reserve",
    ],
    "a budget in money, where there are no prices": [
      (agents) => agents.createRun({ run: ask([], { budget: { maxCostMicrosUsd: 1n } }) as never }),
      "run.budget.max_cost_micros_usd",
    ],
    "a reserve that is longer than the deadline": [
      (agents) =>
        agents.runAgent(ask([], { budget: { deadlineReserve: { seconds: 60n } } }) as never, { timeoutMs: 50_000 }),
      "budget.deadline_reserve",
    ],
    "a conversation that Parley would hold": [
      (agents) => agents.createRun({ run: ask([], { chat: { conversationId: "c" } }) as never }),
      "run.chat.conversation_id",
    ],
    "a run without a name": [(agents) => agents.getRun({}), "run_id"],
    "a run to attach to without a name": [(agents) => agents.attachRun({}), "run_id"],
    "a run to resume without a name": [
      (agents) => agents.resumeRun({ additionalBudget: { maxTurns: 0 } }),
      "run_id",
      "additional_budget.max_turns",
    ],
    "answers for no run": [(agents) => agents.submitToolResults({ answers: [{ toolUseId: "t", answer }] }), "run_id"],
    "a reason that is a novel": [(agents) => agents.cancelRun({ runId: "r", reason: "x".repeat(1_025) }), "reason"],
    "a page of more than there can be": [(agents) => agents.listRuns({ pageSize: 1_001 }), "page_size"],
    "a state that is not known": [(agents) => agents.listRuns({ states: [99 as never] }), "states[0]"],
  };
  for (const [name, [call, ...fields]] of Object.entries(wrong)) {
    test(name, async () => {
      await using service = await start([]);
      const told = await failureOf(call(newClient(service)));
      assert.equal(told.code, name.includes("conversation") ? "Unimplemented" : "InvalidArgument");
      assert.deepEqual(
        told.badRequest?.fieldViolations.map(({ field }) => field),
        fields,
      );
      assert.equal(service.simulator.requests.length, 0);
      assert.deepEqual((await newClient(service).listRuns({})).runs, []);
    });
  }
});

describe("ToolService", { timeout: 60_000 }, () => {
  test("lists all tools by name, page by page", async () => {
    const tools = new ScriptedTools({
      b: [{ sideEffect: "mutating", requiresApproval: true }, () => ""],
      a: [{ sideEffect: "idempotent", grpcMethod: "a.v1.A/Do" }, () => ""],
      d: [{ sideEffect: "unknown" }, () => ""],
      c: () => "",
    });
    await using service = await startAgents(tools, []);
    const client = service.client(ToolService);
    const { tools: all, nextPageToken } = await client.listTools({});
    assert.equal(nextPageToken, "");
    assert.deepEqual(
      all
        .filter(({ name }) => name !== "current_time")
        .map((tool) => [tool.name, tool.description, tool.grpcMethod, tool.sideEffect, tool.requiresApproval]),
      [
        ["a", "Does a.", "a.v1.A/Do", SideEffect.IDEMPOTENT, false],
        ["b", "Does b.", "", SideEffect.MUTATING, true],
        ["c", "Does c.", "", SideEffect.NONE, false],
        ["d", "Does d.", "", SideEffect.UNSPECIFIED, false],
      ],
    );
    assert.equal(all[0]?.inputSchemaJson, tools.tools[1]?.inputSchemaJson);
    const time = all.find(({ name }) => name === "current_time");
    assert.equal(time?.sideEffect, SideEffect.NONE);
    for (const pageSize of [1, 2, 5, 1_000]) {
      const names: string[] = [];
      let pageToken = "";
      do {
        const page = await client.listTools({ pageSize, pageToken });
        names.push(...page.tools.map(({ name }) => name));
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      assert.deepEqual(names, ["a", "b", "c", "current_time", "d"]);
    }
    assert.equal(
      (await failureOf(client.listTools({ pageSize: -1 }))).badRequest?.fieldViolations[0]?.field,
      "page_size",
    );
  });

  test("and a run that asks for another is told which there are", async () => {
    await using service = await startAgents(new ScriptedTools({ look: () => "" }), []);
    for (const [field, call] of [
      ["chat.tools[1].registered_tool", () => newClient(service).runAgent(ask(["look", "loook"]) as never)],
      ["run.chat.tools[0].registered_tool", () => newClient(service).createRun({ run: ask(["loook"]) as never })],
    ] as const) {
      const told = await failureOf(call());
      assert.equal(told.code, "InvalidArgument");
      assert.equal(told.errorInfo?.reason, "TOOL_NOT_REGISTERED");
      assert.equal(told.badRequest?.fieldViolations[0]?.field, field);
      assert.match(told.message, /current_time, look/);
    }
  });

  test("has tools that runs can use", async () => {
    await using service = await start([calls(["current_time"]), says("Late.")]);
    const seen = await run(service, ask(["current_time"]));
    assert.equal(seen.text, "Late.");
    assert.match(seen.of("toolCallFinished")[0]?.result?.text ?? "", /\d{4}-\d{2}-\d{2}T/);
  });
});
