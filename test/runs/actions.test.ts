import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import {
  ActionKind,
  AgentService,
  BudgetKind,
  RunState,
  type SubmitToolResultsRequestSchema,
} from "../../gen/parley/v1/agent_service_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
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
import { ScriptedTools } from "../support/scripted-tools.ts";
import type { Service, ServiceOptions } from "../support/service.ts";
import { approve, newClient, refuse, result } from "./clients.ts";

type Called = readonly (readonly [name: string, input: object, id: string])[];
type Answers = NonNullable<MessageInitShape<typeof SubmitToolResultsRequestSchema>["answers"]>;

/** A request that offers registered tools, and two of the caller's own. */
function askWithOwn(tools: ScriptedTools, rest: RunInput = {}): RunInput {
  const { chat } = ask(tools) as { chat: { tools: object[] } };
  const own = ["ask_user", "print"].map((name) => ({
    kind: { case: "custom" as const, value: { name, inputSchemaJson: '{"type":"object"}' } },
  }));
  return { ...rest, chat: { ...chat, tools: [...chat.tools, ...own], ...rest.chat } as never };
}

function newTools() {
  return new ScriptedTools({
    look: () => "seen",
    burn: [{ requiresApproval: true, sideEffect: "mutating" }, () => "burnt"],
    sell: [{ requiresApproval: true }, () => "sold"],
  });
}

interface Waiting extends AsyncDisposable {
  readonly service: Service;
  readonly tools: ScriptedTools;
  readonly seen: SeenRun;
  submit(...answers: Answers): Promise<unknown>;
  /** All that has happened since the run began to wait. */
  rest(): Promise<SeenRun>;
}

/** A run that waits, with nobody connected to it. */
async function startWaiting(
  called: Called,
  after: Script["steps"] = [says("Done.")],
  { request, ...options }: ServiceOptions & { request?: RunInput } = {},
): Promise<Waiting> {
  const tools = newTools();
  const service = await startAgents(tools, [calls(...called), ...after], options);
  const seen = await run(service, askWithOwn(tools, request));
  assert.equal(seen.failure, undefined);
  assert.equal(seen.kinds.at(-1), "actionRequired");
  const runId = seen.id;
  return {
    service,
    tools,
    seen,
    submit: (...answers) => newClient(service).submitToolResults({ runId, answers }),
    rest: () => watch(newClient(service).attachRun({ runId, afterSequence: seen.events.length })),
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}

async function stateOf({ service, seen }: Waiting) {
  const { run: now } = await newClient(service).getRun({ runId: seen.id });
  return { state: now?.state, pending: now?.pendingActions.map(({ toolUseId }) => toolUseId) };
}

interface SentResult {
  readonly tool_use_id: string;
  readonly content?: unknown;
  readonly is_error?: boolean;
  readonly toolset_name?: string;
}

/** The results in the last request to Claude. */
function sentResults({ simulator }: Service): SentResult[] {
  const sent = simulator.requests.at(-1)?.body as { messages: { content: SentResult[] }[] };
  return sent.messages.at(-1)?.content ?? [];
}

const OWN: Called = [
  ["ask_user", { question: "which?" }, "toolu_a"],
  ["print", { page: 1 }, "toolu_b"],
];

describe("tools of the caller", { timeout: 60_000 }, () => {
  test("are waited for, and their results come in parts and over other connections", async () => {
    await using waiting = await startWaiting(OWN);
    const { service, seen } = waiting;
    const [required] = seen.of("actionRequired");
    assert.deepEqual(
      required?.actions.map(({ toolUseId, name, inputJson, kind }) => [toolUseId, name, inputJson, kind]),
      [
        ["toolu_a", "ask_user", '{"question":"which?"}', ActionKind.EXECUTE],
        ["toolu_b", "print", '{"page":1}', ActionKind.EXECUTE],
      ],
    );
    assert.ok(required?.expireTime);
    assert.deepEqual(await stateOf(waiting), { state: RunState.REQUIRES_ACTION, pending: ["toolu_a", "toolu_b"] });

    const watching = waiting.rest();
    const { run: partly } = await newClient(service).submitToolResults({
      runId: seen.id,
      answers: [result("toolu_b", "printed")],
    });
    assert.equal(partly?.state, RunState.REQUIRES_ACTION);
    assert.deepEqual(await stateOf(waiting), { state: RunState.REQUIRES_ACTION, pending: ["toolu_a"] });
    assert.equal(service.simulator.requests.length, 1);
    const { run: on } = await newClient(service).submitToolResults({
      runId: seen.id,
      answers: [result("toolu_a", "the red one")],
    });
    assert.equal(on?.pendingActions.length, 0);

    const rest = await watching;
    assertGapless([...seen.events, ...rest.events]);
    assert.equal(rest.text, "Done.");
    assert.equal(rest.finished.run.toolCalls, 2);
    assert.deepEqual(
      rest.of("toolCallFinished").map(({ toolUseId, result }) => [toolUseId, result?.text]),
      [
        ["toolu_a", "the red one"],
        ["toolu_b", "printed"],
      ],
    );
    assert.deepEqual(
      sentResults(service).map(({ tool_use_id, content }) => [tool_use_id, content]),
      [
        ["toolu_a", "the red one"],
        ["toolu_b", "printed"],
      ],
    );
  });

  test("give Claude images, errors and nothing at all", async () => {
    await using waiting = await startWaiting([...OWN, ["print", {}, "toolu_c"]]);
    const png = Buffer.from("iVBORw0KGgo=", "base64");
    const image = { source: { mediaType: "image/png", source: { case: "data" as const, value: png } } };
    const content = [{ kind: { case: "image" as const, value: image } }];
    await waiting.submit(
      result("toolu_a", "", { content }),
      result("toolu_b", "out of paper", { isError: true }),
      result("toolu_c", ""),
    );
    const rest = await waiting.rest();
    assert.equal(rest.failure, undefined);
    const source = { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" };
    assert.deepEqual(
      sentResults(waiting.service).map(({ content, is_error }) => [content, is_error]),
      [
        [[{ type: "image", source }], undefined],
        ["out of paper", true],
        [undefined, undefined],
      ],
    );
    const [shown, failed] = rest.of("toolCallFinished");
    assert.equal(shown?.result?.content[0]?.kind.case, "image");
    assert.equal(failed?.result?.isError, true);
  });

  test("of a toolset of Claude's get results that name it", async () => {
    const toolset = { kind: { case: "nativeJson" as const, value: '{"type":"browser_toolset_20260801"}' } };
    const content = [
      { type: "tool_use", id: "toolu_a", name: "get_page_text", input: {}, toolset_name: "browser_toolset_20260801" },
    ];
    await using service = await startAgents(newTools(), [
      { respond: { content, stop_reason: "tool_use" } },
      says("Done."),
    ]);
    const seen = await run(service, ask([], { chat: { tools: [toolset] } }));
    assert.equal(seen.kinds.at(-1), "actionRequired");
    const client = newClient(service);
    await client.submitToolResults({ runId: seen.id, answers: [result("toolu_a", "a page")] });
    const rest = await watch(client.attachRun({ runId: seen.id, afterSequence: seen.events.length }));
    assert.equal(rest.failure, undefined);
    assert.equal(sentResults(service)[0]?.toolset_name, "browser_toolset_20260801");
  });

  test("may be asked for again and again", async () => {
    const again = [calls(["ask_user", {}, "toolu_2"]), calls(["ask_user", {}, "toolu_3"]), says("Done.")];
    await using waiting = await startWaiting([["ask_user", {}, "toolu_1"]], again);
    const client = newClient(waiting.service);
    const answered: string[] = [];
    const all = await watch(client.attachRun({ runId: waiting.seen.id }), ({ event }) => {
      if (event.case !== "actionRequired") return;
      const [{ toolUseId = "" } = {}] = event.value.actions;
      answered.push(toolUseId);
      void waiting.submit(result(toolUseId, `to ${toolUseId}`));
    });
    assert.deepEqual(answered, ["toolu_1", "toolu_2", "toolu_3"]);
    assert.equal(all.text, "Done.");
    assertGapless(all.events);
  });
});

describe("approval", { timeout: 60_000 }, () => {
  test("lets the call be made", async () => {
    await using waiting = await startWaiting([["burn", { n: 1 }, "toolu_a"]]);
    const [action] = waiting.seen.of("actionRequired")[0]?.actions ?? [];
    assert.equal(action?.kind, ActionKind.APPROVE);
    assert.equal(waiting.tools.calls.length, 0);
    await waiting.submit(approve("toolu_a"));
    const rest = await waiting.rest();
    assert.deepEqual(rest.outline, [
      "toolCallStarted",
      "toolCallFinished",
      "turnStarted",
      "turnFinished",
      "runFinished",
    ]);
    assert.deepEqual(
      waiting.tools.calls.map(({ tool, input }) => [tool, input]),
      [["burn", { n: 1 }]],
    );
    assert.deepEqual(sentResults(waiting.service)[0]?.content, "burnt");
  });

  for (const reason of ["", "not on a Sunday"]) {
    test(`that is refused ${reason === "" ? "without" : "with"} a reason is a result for Claude`, async () => {
      await using waiting = await startWaiting([["burn", {}, "toolu_a"]]);
      await waiting.submit(refuse("toolu_a", reason));
      const rest = await waiting.rest();
      assert.equal(rest.text, "Done.");
      assert.equal(waiting.tools.calls.length, 0);
      const [sent] = sentResults(waiting.service);
      assert.equal(sent?.is_error, true);
      assert.match(String(sent?.content), /not approved/);
      assert.ok(String(sent?.content).includes(reason));
      assert.equal(rest.of("toolCallFinished")[0]?.result?.isError, true);
    });
  }

  test("and results are waited for at the same time, while all other calls are made at once", async () => {
    await using waiting = await startWaiting([
      ["ask_user", {}, "toolu_1"],
      ["look", {}, "toolu_2"],
      ["burn", {}, "toolu_3"],
      ["sell", {}, "toolu_4"],
      ["look", {}, "toolu_5"],
    ]);
    assert.deepEqual(
      waiting.tools.calls.map(({ tool }) => tool),
      ["look", "look"],
    );
    assert.deepEqual(
      waiting.seen.of("actionRequired")[0]?.actions.map(({ toolUseId, kind }) => [toolUseId, kind]),
      [
        ["toolu_1", ActionKind.EXECUTE],
        ["toolu_3", ActionKind.APPROVE],
        ["toolu_4", ActionKind.APPROVE],
      ],
    );
    await waiting.submit(refuse("toolu_4"), approve("toolu_3"));
    assert.equal(waiting.tools.calls.length, 2);
    await waiting.submit(result("toolu_1", "blue"));
    const rest = await waiting.rest();
    assert.equal(rest.text, "Done.");
    assert.deepEqual(
      waiting.tools.calls.map(({ tool }) => tool),
      ["look", "look", "burn"],
    );
    assert.deepEqual(
      sentResults(waiting.service).map(({ tool_use_id, is_error }) => [tool_use_id, is_error === true]),
      [
        ["toolu_1", false],
        ["toolu_2", false],
        ["toolu_3", false],
        ["toolu_4", true],
        ["toolu_5", false],
      ],
    );
  });
});

describe("an answer that was given", { timeout: 60_000 }, () => {
  test("may be given again at any time, and does nothing then", async () => {
    const second = calls(["ask_user", {}, "toolu_c"]);
    await using waiting = await startWaiting(OWN, [second, says("Done.")]);
    const [a, b] = [result("toolu_a", "red"), result("toolu_b", "printed")];
    await waiting.submit(a);
    await waiting.submit(a);
    assert.deepEqual((await stateOf(waiting)).pending, ["toolu_b"]);
    await waiting.submit(a, b, b);
    const client = newClient(waiting.service);
    const waitsAgain = Promise.withResolvers<void>();
    const watching = watch(client.attachRun({ runId: waiting.seen.id }), ({ event }) => {
      if (event.case === "actionRequired" && event.value.actions[0]?.toolUseId === "toolu_c") waitsAgain.resolve();
    });
    await waitsAgain.promise;
    await waiting.submit(a, b);
    assert.deepEqual((await stateOf(waiting)).pending, ["toolu_c"]);
    await waiting.submit(b, result("toolu_c", "yes"));
    assert.equal((await watching).text, "Done.");
    await waiting.submit(a, b, result("toolu_c", "yes"));
    assert.equal(waiting.service.simulator.requests.length, 3);
  });

  test("cannot be changed: not before the run goes on, not in one request, not after its end", async () => {
    await using waiting = await startWaiting(OWN);
    const refused = async (...answers: Answers) => {
      const told = await failureOf(waiting.submit(...answers));
      assert.equal(told.code, "FailedPrecondition");
      assert.equal(told.errorInfo?.reason, "RUN_NOT_WAITING");
    };
    await waiting.submit(result("toolu_a", "red"));
    await refused(result("toolu_a", "blue"));
    await refused(approve("toolu_a"));
    await refused(result("toolu_b", "one"), result("toolu_b", "two"));
    await refused(result("toolu_b", "one"), result("toolu_a", "red", { isError: true }));
    assert.deepEqual((await stateOf(waiting)).pending, ["toolu_b"]);
    await waiting.submit(result("toolu_b", "printed"));
    await waiting.rest();
    await refused(result("toolu_a", "blue"));
    await refused(result("toolu_x", "blue"));
    assert.deepEqual(
      sentResults(waiting.service).map(({ content }) => content),
      ["red", "printed"],
    );
  });

  test("counts once, from however many connections it comes at the same time", async () => {
    await using waiting = await startWaiting([["burn", {}, "toolu_a"], ...OWN.slice(1)]);
    const answers: Answers = [approve("toolu_a"), result("toolu_b", "printed")];
    await Promise.all(Array.from({ length: 10 }, () => waiting.submit(...answers)));
    const rest = await waiting.rest();
    assert.equal(rest.text, "Done.");
    assert.equal(waiting.tools.calls.length, 1);
    assert.equal(waiting.service.simulator.requests.length, 2);
  });

  test("is one only, of many that come at the same time", async () => {
    await using waiting = await startWaiting([["ask_user", {}, "toolu_a"]]);
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        waiting.submit(result("toolu_a", `answer ${index}`)).then(
          () => `answer ${index}`,
          (error: unknown) => failureOf(Promise.reject(error)),
        ),
      ),
    );
    await waiting.rest();
    const taken = outcomes.filter((outcome) => typeof outcome === "string");
    assert.deepEqual(
      sentResults(waiting.service).map(({ content }) => content),
      taken,
    );
    for (const outcome of outcomes) {
      if (typeof outcome !== "string") assert.equal(outcome.errorInfo?.reason, "RUN_NOT_WAITING");
    }
    assert.equal(taken.length, 1);
  });
});

describe("an answer is refused, and with it all in the same request,", { timeout: 60_000 }, () => {
  const opaque = { kind: { case: "opaque" as const, value: { type: "new", json: '{"type":"other"}' } } };
  const bad: Record<string, { readonly answer: Answers[number]; readonly field: string }> = {
    "to a call that the run does not wait for": {
      answer: result("toolu_x", "?"),
      field: "answers[1].tool_use_id",
    },
    "to a call that Parley makes": { answer: result("toolu_look", "?"), field: "answers[1].tool_use_id" },
    "with a result where there is to be an approval": { answer: result("toolu_burn", "?"), field: "answers[1]" },
    "with an approval where there is to be a result": { answer: approve("toolu_b"), field: "answers[1]" },
    "with the result of another call": {
      answer: { toolUseId: "toolu_b", answer: { case: "result", value: { toolUseId: "toolu_a" } } },
      field: "answers[1].result.tool_use_id",
    },
    "with a block that is not what it says": {
      answer: result("toolu_b", "", { content: [opaque] }),
      field: "answers[1].result.content[0].opaque.json",
    },
    "with both a text and blocks": {
      answer: result("toolu_b", "text", { content: [{ kind: { case: "text", value: { text: "block" } } }] }),
      field: "answers[1].result",
    },
    "with nothing in it": { answer: { toolUseId: "toolu_b" }, field: "answers[1].answer" },
    "without a call": { answer: { ...approve("toolu_b"), toolUseId: "" }, field: "answers[1].tool_use_id" },
  };
  for (const [name, { answer, field }] of Object.entries(bad)) {
    test(name, async () => {
      await using waiting = await startWaiting([...OWN, ["burn", {}, "toolu_burn"], ["look", {}, "toolu_look"]]);
      const told = await failureOf(waiting.submit(result("toolu_a", "red"), answer));
      assert.equal(told.code, "InvalidArgument");
      assert.equal(told.errorInfo?.reason, "INVALID_REQUEST");
      assert.deepEqual(
        told.badRequest?.fieldViolations.map((violation) => violation.field),
        [field],
      );
      assert.deepEqual((await stateOf(waiting)).pending, ["toolu_a", "toolu_b", "toolu_burn"]);
      // The good one was not taken, so that there may be another.
      await waiting.submit(result("toolu_a", "blue"), result("toolu_b", "printed"), refuse("toolu_burn"));
      assert.equal((await waiting.rest()).text, "Done.");
      assert.equal(sentResults(waiting.service)[0]?.content, "blue");
    });
  }

  test("when there is none", async () => {
    await using waiting = await startWaiting(OWN);
    const told = await failureOf(waiting.submit());
    assert.deepEqual(
      told.badRequest?.fieldViolations.map(({ field }) => field),
      ["answers"],
    );
  });
});

describe("a run that waits", { timeout: 60_000 }, () => {
  test("ends when nobody acts in time", async () => {
    await using waiting = await startWaiting(OWN, [], { config: { runs: { actionTimeout: 150 } } });
    const rest = await waiting.rest();
    const { run: ended } = rest.finished;
    assert.equal(rest.failure, undefined);
    assert.equal(ended.state, RunState.FAILED);
    assert.equal(ended.pendingActions.length, 0);
    assert.equal(reasonOf(ended.error), "ACTION_EXPIRED");
    const told = await failureOf(waiting.submit(result("toolu_a", "late")));
    assert.equal(told.errorInfo?.reason, "RUN_NOT_WAITING");
    const line = await waiting.service.line(({ msg }) => msg === "run");
    assert.deepEqual([line.reason, line.state], ["ACTION_EXPIRED", "FAILED"]);
  });

  test("has waited when it was answered, however long it is at work then", async () => {
    const steps: Script["steps"] = [{ ...says("Done."), gate: "expired" }, calls(["ask_user", {}, "toolu_2"])];
    const config = { runs: { actionTimeout: 150 } };
    await using waiting = await startWaiting([["ask_user", {}, "toolu_1"]], steps, { config });
    const { service, seen, tools } = waiting;
    await service.simulator.nextRequest();
    await waiting.submit(result("toolu_1", "yes"));
    await service.simulator.nextRequest();
    // Another that begins to wait later, and for as long as that one would have.
    const other = await run(service, askWithOwn(tools));
    const expired = await watch(newClient(service).attachRun({ runId: other.id }));
    assert.equal(expired.finished.run.state, RunState.FAILED);
    assert.deepEqual(await stateOf(waiting), { state: RunState.RUNNING, pending: [] });
    service.simulator.open("expired");
    assert.equal((await waiting.rest()).text, "Done.");
    assert.notEqual(other.id, seen.id);
  });

  test("can be cancelled", async () => {
    await using waiting = await startWaiting(OWN);
    const { service, seen } = waiting;
    const watching = waiting.rest();
    const { run: cancelled } = await newClient(service).cancelRun({ runId: seen.id, reason: "no need" });
    assert.equal(cancelled?.state, RunState.CANCELLED);
    const rest = await watching;
    assert.deepEqual(rest.outline, ["runFinished"]);
    assert.match(rest.finished.run.error?.message ?? "", /no need/);
    assert.deepEqual(await stateOf(waiting), { state: RunState.CANCELLED, pending: [] });
    assert.equal((await failureOf(waiting.submit(result("toolu_a", "?")))).errorInfo?.reason, "RUN_NOT_WAITING");
  });

  test("spends no time of its budget", async (t: TestContext) => {
    const request = { budget: { maxDuration: { seconds: 60n } } };
    await using waiting = await startWaiting(OWN, [calls(["look"]), says("Done.")], { request });
    let passed = 0;
    const now = performance.now.bind(performance);
    t.mock.method(performance, "now", () => now() + passed);
    passed = 3_600_000;
    await waiting.submit(result("toolu_a", "red"), result("toolu_b", "printed"));
    const rest = await waiting.rest();
    assert.equal(rest.finished.run.state, RunState.SUCCEEDED);
    assert.equal(rest.finished.run.exhaustedBudget, BudgetKind.UNSPECIFIED);
  });

  test("is no run that is at work, nor one that has ended", async () => {
    const tools = newTools();
    await using service = await startAgents(tools, [{ ...says("Hi."), gate: "asked" }]);
    const client = newClient(service);
    const { run: created } = await service.client(AgentService).createRun({ run: ask([]) as never });
    const runId = created?.id ?? "";
    const submit = () => failureOf(client.submitToolResults({ runId, answers: [result("toolu_a", "?")] }));
    await service.simulator.nextRequest();
    for (const told of [await submit(), await finishedThen(submit)]) {
      assert.equal(told.code, "FailedPrecondition");
      assert.equal(told.errorInfo?.reason, "RUN_NOT_WAITING");
    }
    async function finishedThen<T>(next: () => Promise<T>): Promise<T> {
      service.simulator.open("asked");
      await watch(client.attachRun({ runId }));
      return next();
    }
  });
});

function reasonOf(status: SeenRun["finished"]["run"]["error"]): string | undefined {
  const any = status?.details.find(({ typeUrl }) => typeUrl.endsWith(ErrorInfoSchema.typeName));
  return any && fromBinary(ErrorInfoSchema, any.value).reason;
}
