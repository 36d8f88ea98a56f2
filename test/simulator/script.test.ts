import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Message } from "@anthropic-ai/sdk/resources/messages/messages.js";
import {
  createSimulator,
  readScript,
  type Script,
  ScriptError,
  type Simulator,
  signThinking,
} from "../../src/simulator/simulator.ts";
import { answer, ask, HEADERS, type Json, parseEvents, post, request, streamEvents } from "./client.ts";

const start = (script: Script) => createSimulator({ pacing: "instant", script });
const textOf = (message: Message) => message.content.map((block) => (block.type === "text" ? block.text : "")).join("");

/** Notes an answer when it has come. */
async function collect(simulator: Simulator, answers: string[]): Promise<void> {
  answers.push(textOf(await answer(simulator, request())));
}

interface ErrorBody {
  readonly error: { readonly type: string; readonly message: string; readonly details?: unknown };
}

async function errorOf(response: Response): Promise<ErrorBody["error"]> {
  return ((await response.json()) as ErrorBody).error;
}

describe("steps", () => {
  test("are used in order", async () => {
    await using simulator = await start({
      steps: [{ respond: { content: [{ text: "one" }] } }, { respond: { content: [{ text: "two" }] }, times: 2 }],
    });
    const texts = [];
    for (let i = 0; i < 3; i++) texts.push(textOf(await answer(simulator, request())));
    assert.deepEqual(texts, ["one", "two", "two"]);
    simulator.verify();
  });

  test("without a response are answered by the default scenario", async () => {
    await using simulator = await start({ steps: [{}, { respond: { converse: true } }] });
    for (let i = 0; i < 2; i++) assert.match(textOf(await answer(simulator, ask("Hello"))), /"Hello"/);
  });

  test("can be used in any order", async () => {
    await using simulator = await start({
      anyOrder: true,
      steps: [
        { expect: { contains: "apples" }, respond: { content: [{ text: "red" }] } },
        { expect: { contains: "pears" }, respond: { content: [{ text: "green" }] } },
      ],
    });
    assert.equal(textOf(await answer(simulator, ask("pears?"))), "green");
    assert.equal(textOf(await answer(simulator, ask("apples?"))), "red");
    simulator.verify();
  });

  test("are followed by the default scenario where the script says so", async () => {
    await using simulator = await start({
      steps: [{ respond: { content: [{ text: "one" }] } }],
      afterwards: "converse",
    });
    await answer(simulator, request());
    assert.match(textOf(await answer(simulator, ask("Hello"))), /"Hello"/);
    simulator.verify();
  });

  test("leave other endpoints alone, unless they name their path", async () => {
    await using simulator = await start({
      steps: [
        { expect: { method: "get", path: "/v1/models" }, respond: { status: 529 } },
        { expect: { path: "/v1/files" }, respond: { raw: '{"data":[]}' } },
        { respond: { content: [{ text: "one" }] } },
      ],
    });
    const get = (path: string) => fetch(simulator.url + path, { headers: HEADERS });
    assert.equal((await get("/v1/models/claude-opus-5-5")).status, 200);
    assert.equal((await get("/v1/models")).status, 529);
    assert.equal((await get("/v1/models")).status, 200);
    assert.deepEqual(await (await get("/v1/files")).json(), { data: [] });
    assert.equal((await get("/v1/files")).status, 404);
    assert.equal((await get("/v1/messages")).status, 405);
    assert.equal(textOf(await answer(simulator, request())), "one");
    simulator.verify();
  });

  test("are not used up by a request that Claude would refuse", async () => {
    await using simulator = await start({ steps: [{ respond: { content: [{ text: "one" }] } }] });
    assert.equal((await post(simulator, request({ max_tokens: "many" }))).status, 400);
    assert.equal(textOf(await answer(simulator, request())), "one");
    simulator.verify();
  });

  test("can let a body pass that Claude would refuse", async () => {
    await using simulator = await start({
      steps: [{ validate: false, respond: { content: [{ text: "one" }] }, times: 2 }],
    });
    const body = request({ messages: [{ role: "user", content: [{ type: "hologram", data: "x" }] }], novelty: 1 });
    assert.equal(textOf(await answer(simulator, body)), "one");
    assert.equal(textOf(await answer(simulator, { model: "claude-6", messages: 5, cache_control: {} })), "one");
  });

  test("wait at a gate before the headers", async () => {
    await using simulator = await start({
      steps: [{ gate: "go", respond: { content: [{ text: "one" }] } }, { respond: { content: [{ text: "two" }] } }],
    });
    const answers: string[] = [];
    const first = collect(simulator, answers);
    await simulator.nextRequest();
    await collect(simulator, answers);
    simulator.open("go");
    await first;
    assert.deepEqual(answers, ["two", "one"]);
  });

  test("pass a gate that was opened before, and find it closed again in a new script", async () => {
    const script: Script = {
      steps: [{ gate: "go", respond: { content: [{ text: "one" }] } }, { respond: { content: [{ text: "two" }] } }],
    };
    await using simulator = await start(script);
    const answers: string[] = [];
    simulator.open("go");
    await collect(simulator, answers);
    await collect(simulator, answers);
    simulator.run(script);
    const first = collect(simulator, answers);
    for (let taken = 0; taken < 3; taken++) await simulator.nextRequest();
    await collect(simulator, answers);
    simulator.open("go");
    await first;
    assert.deepEqual(answers, ["one", "two", "two", "one"]);
  });

  test("wait before they answer", async () => {
    await using simulator = await start({ steps: [{ timing: { delayMs: 30 } }] });
    const started = performance.now();
    await answer(simulator, request());
    assert.ok(performance.now() - started >= 29);
  });
});

describe("scripted messages", () => {
  test("are filled in where the script is brief, and can be sent back", async () => {
    await using simulator = await start({
      steps: [
        {
          respond: {
            content: [
              { thinking: "hm" },
              { redacted_thinking: "secret" },
              { text: "Well" },
              { type: "tool_use", name: "lookup", input: { a: 1 } },
            ],
          },
        },
        {},
      ],
    });
    const first: Message = await answer(simulator, request());
    assert.equal(first.stop_reason, "tool_use");
    assert.deepEqual(first.content[0], { type: "thinking", thinking: "hm", signature: signThinking("hm") });
    const call = first.content.find((block) => block.type === "tool_use");
    assert.deepEqual(call?.caller, { type: "direct" });
    const messages = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: first.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: call?.id }] },
    ];
    await answer(simulator, request({ messages }));
  });

  test("say what the script says", async () => {
    const respond: Script["steps"][number]["respond"] = {
      id: "msg_1",
      model: "claude-next",
      content: [
        { type: "hologram", size: 3 },
        { type: "text", text: "Well", mood: "calm" },
      ],
      stop_reason: "tired",
      stop_sequence: "zzz",
      stop_details: { type: "nap" },
      usage: { output_tokens: 7, dreams: 1 },
      headers: { "x-extra": "1" },
    };
    await using simulator = await start({ steps: [{ respond, times: 2 }] });
    const response = await post(simulator, request());
    const message = (await response.json()) as Message;
    assert.equal(response.headers.get("x-extra"), "1");
    assert.deepEqual(message.content, [
      { type: "hologram", size: 3 },
      { type: "text", text: "Well", citations: null, mood: "calm" },
    ]);
    const { id, model, stop_reason, stop_sequence, stop_details } = message;
    assert.deepEqual(
      [id, model, stop_reason, stop_sequence, stop_details],
      ["msg_1", "claude-next", "tired", "zzz", { type: "nap" }],
    );
    assert.deepEqual([message.usage.output_tokens, (message.usage as unknown as Json).dreams], [7, 1]);
    assert.ok(message.usage.input_tokens > 0);
    const events = await streamEvents(simulator, request());
    assert.deepEqual(events[2]?.data.content_block, { type: "hologram", size: 3 });
    assert.equal(events.at(-2)?.data.usage.output_tokens, 7);
  });

  test("cost what their blocks cost", async () => {
    await using simulator = await start({
      steps: [{ respond: { content: [{ thinking: "12345678" }, { text: "1234" }] } }],
    });
    const { usage } = (await answer(simulator, request())) as Message;
    assert.equal(usage.output_tokens, 3);
    assert.equal(usage.output_tokens_details?.thinking_tokens, 2);
  });
});

describe("scripted errors", () => {
  test("have their status, type, code and headers", async () => {
    await using simulator = await start({
      steps: [
        {
          respond: {
            status: 400,
            error: {
              type: "billing_error",
              message: "Pay.",
              error_code: "enforced_spend_limit_reached",
              details: { limit: 1 },
            },
            headers: { "x-should-retry": "false" },
          },
        },
      ],
    });
    const response = await post(simulator, request());
    assert.equal(response.status, 400);
    assert.equal(response.headers.get("x-should-retry"), "false");
    assert.deepEqual(await errorOf(response), {
      type: "billing_error",
      message: "Pay.",
      details: { error_code: "enforced_spend_limit_reached", limit: 1 },
    });
  });

  for (const [status, type] of [
    [429, "rate_limit_error"],
    [529, "overloaded_error"],
    [503, "api_error"],
    [422, "invalid_request_error"],
  ] as const) {
    test(`with status ${status} alone are ${type}`, async () => {
      await using simulator = await start({ steps: [{ respond: { status } }] });
      const response = await post(simulator, request({ stream: true }));
      assert.equal(response.status, status);
      assert.equal((await errorOf(response)).type, type);
    });
  }
});

test("scripted events are sent as they are", async () => {
  const events = [
    { data: { type: "message_start", message: {} } },
    { event: "novelty", data: '{"type":"novelty"}' },
    { event: null, data: "1" },
    { data: { type: "message_stop" } },
  ];
  await using simulator = await start({ steps: [{ respond: { events } }] });
  const text = await (await post(simulator, request({ stream: true }))).text();
  assert.equal(
    text,
    'event: message_start\ndata: {"type":"message_start","message":{}}\n\nevent: novelty\ndata: {"type":"novelty"}\n\ndata: 1\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
  );
  assert.equal(parseEvents(text).length, 4);
});

test("raw bodies are sent byte for byte", async () => {
  const bytes = Buffer.from([0, 255, 10, 13]);
  await using simulator = await start({
    steps: [
      { respond: { raw: { base64: bytes.toString("base64") }, status: 502, headers: { "content-type": "text/html" } } },
      { respond: { raw: "" } },
    ],
  });
  const response = await post(simulator, request());
  assert.equal(response.status, 502);
  assert.equal(response.headers.get("content-type"), "text/html");
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), bytes);
  const empty = await post(simulator, request());
  assert.deepEqual([empty.status, await empty.text()], [200, ""]);
});

describe("expectations", () => {
  const rows: [name: string, expect: NonNullable<Script["steps"][number]["expect"]>, problem: string | undefined][] = [
    ["a part of the body", { body: { model: "claude-opus-5-5", messages: [{ role: "user" }] } }, undefined],
    ["a header", { headers: { Authorization: "Bearer test-key", "x-none": null } }, undefined],
    ["text of the last user message", { contains: "Claude" }, undefined],
    ["another model", { body: { model: "x" } }, 'body.model: expected "x", got "claude-opus-5-5"'],
    ["a member that is missing", { body: { stream: true } }, "body.stream: expected true, got nothing"],
    ["a longer list", { body: { messages: [{}, {}] } }, "body.messages: expected [{},{}], got [{"],
    ["another header", { headers: { "x-none": "1" } }, 'headers.x-none: expected "1", got null'],
    ["other text", { contains: "Bob" }, 'contains: expected "Bob" in the last user message, got "Hello, Claude"'],
    ["another method", { method: "put" }, 'method: expected "PUT", got "POST"'],
  ];
  for (const [name, expect, problem] of rows) {
    test(`of ${name} ${problem ? "are missed" : "are met"}`, async () => {
      await using simulator = await start({ steps: [{ expect, name: "greeting" }] });
      const response = await post(simulator, request());
      if (problem === undefined) {
        assert.equal(response.status, 200);
        return;
      }
      assert.equal(response.status, 500);
      const { type, message } = await errorOf(response);
      assert.equal(type, "api_error");
      assert.ok(
        message.startsWith("Unexpected request 1, POST /v1/messages: step 1 (greeting) does not match: "),
        message,
      );
      assert.ok(message.includes(problem), message);
    });
  }

  test("of text look into tool results", async () => {
    await using simulator = await start({ steps: [{ expect: { contains: "degrees" } }] });
    const messages = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: [{ type: "tool_use", id: "a", name: "t", input: {} }] },
      {
        role: "user",
        content: [{ type: "tool_result", tool_use_id: "a", content: [{ type: "text", text: "18 degrees" }] }],
      },
    ];
    await answer(simulator, request({ messages }));
  });
});

describe("verify", () => {
  const violations = (simulator: Simulator) => {
    try {
      simulator.verify();
      return [];
    } catch (error) {
      return (error as Error).message.split("\n");
    }
  };

  test("tells of unexpected requests and unused steps", async () => {
    await using simulator = await start({
      steps: [{ expect: { contains: "apples" } }, { name: "later", times: 3 }],
    });
    await post(simulator, ask("pears"));
    await answer(simulator, ask("apples"));
    await answer(simulator, request());
    assert.deepEqual(violations(simulator), [
      "The script was not followed:",
      '- Unexpected request 1, POST /v1/messages: step 1 does not match: contains: expected "apples" in the last user message, got "pears"',
      "- step 2 (later) was used 1 of 3 times",
    ]);
  });

  test("tells of a request when no step is left", async () => {
    await using simulator = await start({ steps: [{}] });
    await answer(simulator, request());
    const response = await post(simulator, request());
    assert.equal((await errorOf(response)).message, "Unexpected request 2, POST /v1/messages: all 1 steps were used");
    assert.equal(violations(simulator).length, 2);
  });

  test("starts anew with a new script, and has nothing to say without one", async () => {
    await using simulator = await start({ steps: [{}] });
    assert.equal(violations(simulator).length, 2);
    simulator.run({ steps: [] });
    simulator.verify();
    await using free = await createSimulator({ pacing: "instant" });
    free.verify();
  });
});

describe("the format", () => {
  test("is read from YAML", async () => {
    const script = readScript(`
      steps:
        - name: greeting
          expect: { contains: Hello }
          respond:
            content:
              - text: "Good day"
        - respond: { status: 529 }
          times: 2
      afterwards: converse
    `);
    await using simulator = await start(script);
    assert.equal(textOf(await answer(simulator, request())), "Good day");
    assert.equal((await post(simulator, request())).status, 529);
  });

  test("is checked as a whole, with a path for every problem", () => {
    const script = {
      steps: [
        { respond: { content: [{ txt: "x" }], events: [] }, colour: "red" },
        { respond: { status: 200 }, times: 0, faults: { cutAfter: -1, splitAt: [3, 2] } },
        { respond: { status: 500, content: [] }, timing: { tokensPerSecond: 0 } },
        { expect: { path: "/v1/models" }, respond: { content: [] } },
        { validate: false },
        { respond: {} },
        { respond: { status: 500, headers: { "x:y": "1", x: "a\nb" } } },
      ],
      afterward: "converse",
    };
    assert.throws(
      () => readScript(JSON.stringify(script)),
      (error: unknown) => {
        assert.ok(error instanceof ScriptError);
        const lines = error.message.split("\n");
        assert.equal(lines[0], "The script is not valid:");
        const paths = lines.slice(1).map((line) => /^- (\S+): /.exec(line)?.[1]);
        assert.deepEqual(paths, [
          "steps.0.respond.content.0",
          "steps.0.respond",
          "steps.0",
          "steps.1.respond.status",
          "steps.1.faults.cutAfter",
          "steps.1.faults.splitAt",
          "steps.1.times",
          "steps.2.respond.status",
          "steps.2.timing.tokensPerSecond",
          "steps.3.respond",
          "steps.4.validate",
          "steps.5.respond",
          "steps.6.respond.headers.x:y",
          "steps.6.respond.headers.x",
          "script",
        ]);
        return true;
      },
    );
  });

  test("must be YAML", () => {
    assert.throws(() => readScript("steps: [}"), ScriptError);
  });

  test("is checked when a simulator gets it", async () => {
    await assert.rejects(createSimulator({ script: { steps: [{ respond: {} }] } }), ScriptError);
    await using simulator = await createSimulator();
    assert.throws(() => simulator.run({ steps: [{ times: 0 }] }), ScriptError);
  });
});
