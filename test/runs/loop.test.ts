import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { type ErrorInfo, ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { AgentService, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import type { Step } from "../../src/simulator/simulator.ts";
import { messageEvents, streamedCall } from "../support/message-events.ts";
import { ask, assertGapless, calls, run, type SeenRun, says, startAgents } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import type { Service } from "../support/service.ts";

type Json = Record<string, unknown>;
type Message = { role: string; content: Json[] };

const tools = new ScriptedTools({ look: () => "seen" });
const model = "claude-sonnet-5-5";
const overloaded = { respond: { status: 529 } } as const;

let service: Service;
before(async () => {
  service = await startAgents(tools, undefined);
});
after(() => service[Symbol.asyncDispose]());

/** Starts a script. The requests that follow are those that the function returns. */
function play(...steps: Step[]): () => Service["simulator"]["requests"] {
  const since = service.simulator.requests.length;
  service.simulator.run({ steps });
  return () => service.simulator.requests.slice(since);
}

function messagesOf(request: { readonly body: unknown } | undefined): Message[] {
  return (request?.body as { messages: Message[] } | undefined)?.messages ?? [];
}

describe("what Claude is asked in each turn", () => {
  test("is all that went before, and the results", async () => {
    const requests = play(calls(["look", { n: 1 }, "a"]), calls(["look", { n: 2 }, "b"]), says("Done."));
    const seen = await run(service, ask(tools, { chat: { disablePromptCaching: true } }));
    assert.equal(seen.text, "Done.");
    const [first, second, third] = requests().map(messagesOf);
    assert.deepEqual(second?.slice(0, 1), first);
    assert.deepEqual(third?.slice(0, 3), second);
    const call = (id: string, n: number) => [
      {
        role: "assistant",
        content: [{ type: "tool_use", id, name: "look", input: { n }, caller: { type: "direct" } }],
      },
      { role: "user", content: [{ type: "tool_result", tool_use_id: id, content: "seen" }] },
    ];
    assert.deepEqual(third?.slice(1), [...call("a", 1), ...call("b", 2)]);
  });

  test("is the same in all but the messages", async () => {
    const requests = play(calls(["look"]), says("Done."));
    const chat = { system: { text: "Be brief." }, maxTokens: 77, stopSequences: ["END"], endUserId: "someone" };
    await run(service, ask(tools, { chat: { ...chat, disablePromptCaching: true } }));
    const [first, second] = requests().map(({ body }) => ({ ...(body as Json), messages: [] }));
    assert.deepEqual(second, first);
    assert.equal((first as Json).max_tokens, 77);
  });

  for (const [name, input] of [
    ["large integers", '{"n":12345678901234567890,"price":1.10}'],
    ["spaces", '{ "n" :  1 ,\n"a":[ 1,2 ] }'],
    ["the order of keys", '{"10":1,"2":2,"b":3,"a":4}'],
    ["the same key twice", '{"n":1,"n":2}'],
    ["escapes", '{"text":"\\u00e9\\/ \\ud83d\\ude00"}'],
    ["exponents", '{"n":1E400,"m":-0.0,"k":1e-7}'],
  ] as const) {
    test(`has the arguments of calls byte for byte: ${name}`, async () => {
      const requests = play({ respond: messageEvents([streamedCall("a", "look", input)], "tool_use") }, says("Done."));
      const seen = await run(service, ask(tools));
      assert.equal(seen.text, "Done.");
      assert.equal(seen.of("toolCallStarted")[0]?.inputJson, input);
      assert.ok(requests()[1]?.bodyText.includes(`"input":${input}`));
    });
  }

  test("has thinking byte for byte", async () => {
    const requests = play(
      {
        respond: {
          content: [
            { thinking: 'Hm – \u2028 "so" \\ it is \u0007 é 😀.' },
            { redacted_thinking: "secret" },
            { type: "tool_use", id: "a", name: "look", input: {} },
          ],
        },
      },
      says("Done."),
    );
    const seen = await run(service, ask(tools, { chat: { thinking: { mode: { case: "adaptive", value: {} } } } }));
    // The simulator checks the signature.
    assert.equal(seen.failure, undefined);
    const [, answer] = messagesOf(requests()[1]);
    assert.deepEqual(
      answer?.content.map(({ type }) => type),
      ["thinking", "redacted_thinking", "tool_use"],
    );
  });

  test("has blocks that nobody knows yet as they were", async () => {
    const block = { type: "of_tomorrow", value: { "10": 1, "2": [1.5] } };
    const requests = play(
      { respond: { content: [block, { type: "tool_use", id: "a", name: "look", input: {} }] } },
      { ...says("Done."), validate: false },
    );
    const seen = await run(service, ask(tools));
    assert.equal(seen.text, "Done.");
    assert.deepEqual(messagesOf(requests()[1])[1]?.content[0], block);
  });

  for (const text of ["", " ", "\n\n"]) {
    test(`has no text of nothing but ${JSON.stringify(text)}, which Claude writes but does not take`, async () => {
      const requests = play(
        { respond: { content: [{ text }, { type: "tool_use", id: "a", name: "look", input: {} }] } },
        says("Done."),
      );
      const seen = await run(service, ask(tools));
      assert.equal(seen.failure, undefined);
      assert.deepEqual(
        messagesOf(requests()[1])[1]?.content.map(({ type }) => type),
        ["tool_use"],
      );
    });
  }

  test("has what Claude's own tools did", async () => {
    const search = { type: "server_tool_use", id: "srvtoolu_1", name: "web_search", input: { query: "parley" } };
    const found = {
      type: "web_search_tool_result",
      tool_use_id: "srvtoolu_1",
      content: [
        { type: "web_search_result", title: "A", url: "https://a.example", encrypted_content: "x", page_age: null },
      ],
    };
    const requests = play(
      { respond: { content: [search, found, { type: "tool_use", id: "a", name: "look", input: {} }] } },
      says("Done."),
    );
    const native = {
      kind: { case: "nativeJson", value: '{"type":"web_search_20250305","name":"web_search"}' },
    } as const;
    const look = { kind: { case: "registeredTool", value: "look" } } as const;
    const seen = await run(service, ask(tools, { chat: { tools: [native, look] } }));
    assert.equal(seen.failure, undefined);
    assert.deepEqual(messagesOf(requests()[1])[1]?.content[1], found);
    // They are Claude's: nobody else calls them.
    assert.deepEqual(
      seen.of("toolCallStarted").map(({ toolUseId }) => toolUseId),
      ["a"],
    );
  });
});

describe("the final message", () => {
  test("is the answer of the last turn alone", async () => {
    play(
      { respond: { content: [{ text: "I look." }, { type: "tool_use", id: "a", name: "look", input: {} }] } },
      { respond: { content: [{ text: "There " }, { text: "it is." }], id: "msg_last" } },
    );
    const { finalMessage } = (await run(service, ask(tools))).finished;
    assert.equal(finalMessage?.id, "msg_last");
    assert.equal(finalMessage?.model, model);
    assert.deepEqual(
      finalMessage?.content.map(({ kind }) => (kind.case === "text" ? kind.value.text : kind.case)),
      ["There ", "it is."],
    );
    assert.ok(finalMessage?.upstreamRequestId);
  });

  test("is found again by GetRun", async () => {
    play(says("Done."));
    const seen = await run(service, ask(tools));
    const { run: found, finalMessage } = await service.client(AgentService).getRun({ runId: seen.id });
    assert.deepEqual(found, seen.finished.run);
    assert.deepEqual(finalMessage, seen.finished.finalMessage);
  });
});

describe("what a run costs", () => {
  const usage = (input: number, output: number, read: number, written: number) => ({
    input_tokens: input,
    output_tokens: output,
    cache_read_input_tokens: read,
    cache_creation_input_tokens: written,
    cache_creation: { ephemeral_5m_input_tokens: written, ephemeral_1h_input_tokens: 0 },
    output_tokens_details: { thinking_tokens: output - 1 },
  });
  const numbers = (told: Usage | undefined) => [
    told?.inputTokens,
    told?.outputTokens,
    told?.cacheReadInputTokens,
    told?.cacheCreationInputTokens,
    told?.cacheCreation5mInputTokens,
    told?.thinkingTokens,
  ];

  test("is the sum of its turns, each counted once", async () => {
    const [first, second] = [calls(["look"]), says("Done.")];
    play(
      { respond: { ...first.respond, usage: usage(10, 20, 30, 40) } },
      { respond: { ...second.respond, usage: usage(1, 2, 3, 4) } },
    );
    const seen = await run(service, ask(tools));
    assert.deepEqual(
      seen.of("turnFinished").map((turn) => numbers(turn.usage)),
      [
        [10, 20, 30, 40, 40, 19],
        [1, 2, 3, 4, 4, 1],
      ],
    );
    assert.deepEqual(numbers(seen.finished.run.usage), [11, 22, 33, 44, 44, 20]);
    assert.deepEqual(numbers(seen.finished.finalMessage?.usage), [1, 2, 3, 4, 4, 1]);
  });

  test("is in the log line of the run", async () => {
    play({ respond: { ...says("Done.").respond, usage: usage(5, 6, 7, 8) } });
    const seen = await run(service, ask(tools));
    const line = await service.line(({ msg, run: id }) => msg === "run" && id === seen.id);
    assert.equal(line.state, "SUCCEEDED");
    const told = line.usage as Json;
    assert.deepEqual([told.input, told.output, told.cache_read, told.cache_write], [5, 6, 7, 8]);
  });

  test("counts a turn that broke off", async () => {
    const [first, second] = [calls(["look"]), says("Done.")];
    play(
      { respond: { ...first.respond, usage: usage(10, 20, 30, 40) } },
      { respond: { ...second.respond, usage: usage(1, 9, 3, 4) }, faults: { cutAfter: 4 } },
    );
    const seen = await run(service, ask(tools));
    const { usage: told } = seen.finished.run;
    assert.deepEqual([told?.inputTokens, told?.cacheReadInputTokens], [11, 33]);
    assert.ok((told?.outputTokens ?? 0) > 20);
    assert.equal(told?.outputTokensEstimated, true);
  });
});

/** Asserts that a run has failed, and that its last event and the status of the call tell the same. */
function failureOf(seen: SeenRun): ErrorInfo {
  assertGapless(seen.events);
  assert.equal(seen.kinds.at(-1), "runFinished");
  const { run: ended } = seen.finished;
  assert.equal(ended.state, RunState.FAILED);
  const info = ended.error?.details.map((any) => anyUnpack(any, ErrorInfoSchema)).find((found) => found !== undefined);
  assert.ok(info && seen.failure);
  assert.equal(seen.failure.code, Code[ended.error?.code as Code]);
  assert.equal(seen.failure.message, ended.error?.message);
  assert.deepEqual(seen.failure.errorInfo, info);
  return info;
}

describe("a run whose turn fails", () => {
  const rows: Record<string, { step: Step; reason: string; code: string }> = {
    "Claude refuses the request": {
      step: { respond: { status: 400 } },
      reason: "INVALID_REQUEST_ERROR",
      code: "InvalidArgument",
    },
    "Claude stays overloaded": { step: overloaded, reason: "OVERLOADED_ERROR", code: "Unavailable" },
    "Claude stays broken": { step: { respond: { status: 500 } }, reason: "API_ERROR", code: "Internal" },
    "the credential is refused": {
      step: { respond: { status: 401 } },
      reason: "AUTHENTICATION_ERROR",
      code: "Internal",
    },
    "the connection is cut in the middle": {
      step: { ...says("It is over there."), faults: { cutAfter: 5 } },
      reason: "UPSTREAM_STREAM_TRUNCATED",
      code: "Unavailable",
    },
    "the answer ends in the middle": {
      step: { ...says("It is over there."), faults: { truncateAfter: 5 } },
      reason: "UPSTREAM_STREAM_TRUNCATED",
      code: "Unavailable",
    },
    "an error event comes in the middle": {
      step: {
        ...says("It is over there."),
        faults: { errorAfter: { events: 5, error: { type: "overloaded_error", message: "Overloaded" } } },
      },
      reason: "OVERLOADED_ERROR",
      code: "Unavailable",
    },
    "garbage comes in the middle": {
      step: { ...says("It is over there."), faults: { garbageAfter: 5 } },
      reason: "UPSTREAM_STREAM_MALFORMED",
      code: "Unavailable",
    },
  };
  for (const [name, { step, reason, code }] of Object.entries(rows)) {
    for (const turn of [1, 2]) {
      test(`since ${name}, in turn ${turn}, tells it with run_finished and then with its status`, async () => {
        play(...(turn === 2 ? [calls(["look"])] : []), { ...step, times: 3 });
        const seen = await run(service, ask(tools));
        assert.equal(failureOf(seen).reason, reason);
        assert.equal(seen.failure?.code, code);
        assert.equal(seen.finished.finalMessage, undefined);
        assert.deepEqual(seen.outline.slice(-2), ["turnFinished", "runFinished"]);
        assert.equal(seen.of("turnFinished").length, turn);
        assert.equal(seen.of("turnFinished").at(-1)?.rawStopReason, "");
        assert.ok(seen.failure.requestInfo?.requestId);
      });
    }
  }

  test("tells what was received of the answer", async () => {
    play(calls(["look"]), { ...says("It is over there."), faults: { cutAfter: 5 } });
    const seen = await run(service, ask(tools));
    const deltas = seen.of("messageEvent").filter(({ event }) => event.case === "contentBlockDelta");
    assert.ok(deltas.length > 0);
    assert.equal(seen.failure?.partialOutput?.lastSequence, seen.events.length);
    assert.deepEqual(seen.failure?.partialOutput?.usage, seen.finished.run.usage);
  });

  test("raises an alert where the operator must act", async () => {
    play({ respond: { status: 401 } });
    const seen = await run(service, ask(tools));
    await service.line(({ alert, run: id }) => alert === "credential_rejected" && id === seen.id);
  });
});

describe("a turn is tried again", () => {
  const rows: Record<string, Step> = {
    "when Claude is overloaded": overloaded,
    "when Claude is broken": { respond: { status: 500 } },
    "when the connection is closed": { ...says("lost"), faults: { closeBeforeHeaders: true } },
    "when the answer ends before its content": { ...says("lost"), faults: { truncateAfter: 2 } },
  };
  for (const [name, step] of Object.entries(rows)) {
    test(name, async () => {
      const requests = play(step, calls(["look"]), { ...step, times: 2 }, says("Done."));
      const seen = await run(service, ask(tools));
      assert.equal(seen.failure, undefined);
      assert.equal(seen.text, "Done.");
      assert.equal(seen.finished.run.turns, 2);
      assert.deepEqual(seen.of("turnStarted").length, 2);
      const bodies = requests().map(({ bodyText }) => bodyText);
      assert.equal(bodies[1], bodies[0]);
      assert.deepEqual(new Set(bodies.slice(2)).size, 1);
      service.simulator.verify();
    });
  }

  test("with the fallback models, and the next turn asks the first model again", async () => {
    const other = "claude-haiku-5-5";
    const requests = play({ ...overloaded, times: 3 }, calls(["look"]), says("Done."));
    const seen = await run(service, ask(tools, { chat: { fallbackModels: [other] } }));
    assert.equal(seen.text, "Done.");
    assert.deepEqual(
      requests().map(({ body }) => (body as Json).model),
      [model, model, model, other, model],
    );
  });
});

test("the tools are the same text in each turn, which the prompt cache needs", async () => {
  const requests = play(calls(["look", {}, "a"]), calls(["look", {}, "b"]), says("Done."));
  await run(service, ask(tools));
  const all = requests().map(({ bodyText }) => /"tools":(\[.*?\}\])/.exec(bodyText)?.[1]);
  assert.ok(all[0]);
  assert.equal(new Set(all).size, 1);
});
