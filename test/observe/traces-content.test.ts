import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { ask, calls, says, watch } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import type { CallerSpan } from "../support/traces.ts";
import { attemptsOf, startTraced, type TracedService } from "./traced-service.ts";

const user = (text: string) => ({ role: Role.USER, text });

/** Every text that is in a span. */
function textOf(spans: readonly ReadableSpan[]): string {
  return JSON.stringify(
    spans.map(({ name, attributes, events, status, links }) => ({
      name,
      attributes,
      events: events.map((event) => [event.name, event.attributes]),
      status,
      links: links.map((link) => link.attributes),
    })),
  );
}

/** Nothing of this may be in telemetry. */
const canaries = {
  prompt: "canary-of-the-prompt",
  system: "canary-of-the-system",
  answer: "canary-of-the-answer",
  thinking: "canary-of-the-thinking",
  arguments: "canary-of-the-arguments",
  result: "canary-of-the-result",
  failure: "canary-of-the-failure",
  crash: "canary-of-the-crash",
  claudeError: "canary-of-an-error",
  header: "canary-of-a-header",
  key: "sk-test",
  endUser: "canary-of-the-end-user",
} as const;

const leaks = () =>
  new ScriptedTools({
    look: () => canaries.result,
    fail: () => ({ content: canaries.failure, isError: true }),
    crash: () => {
      throw new TypeError(canaries.crash);
    },
  });

/** Calls in which each of the canaries goes in or out. */
async function singAll({ service, traces }: TracedService): Promise<void> {
  const chat = {
    messages: [user(canaries.prompt)],
    system: { text: canaries.system },
    endUserId: canaries.endUser,
  };
  await traces.caller(async (trace) => {
    const options = { headers: { ...trace, authorization: `Bearer ${canaries.header}`, "x-other": canaries.header } };
    await service.chat.chat(chat, options);
    await service.chat.chat(chat, options).catch(() => {});
    await service.chat.chat(chat, options).catch(() => {});
    const request = ask(["look", "fail", "crash"], { chat });
    await watch(service.client(AgentService).runAgent(request as never, options));
  });
  await traces.settled();
}

const answer = { content: [{ thinking: canaries.thinking }, { text: canaries.answer }] };
const error = { type: "invalid_request_error", message: canaries.claudeError };
const argument = { n: 1, canary: canaries.arguments };
const steps: Script["steps"] = [
  { respond: answer },
  { respond: { status: 400, error } },
  { respond: answer, faults: { errorAfter: { events: 6, error } } },
  calls(["look", argument], ["fail", argument], ["crash", argument], ["nobody", argument]),
  { respond: answer },
];

describe("what callers, Claude and tools say", () => {
  test("is in no span, no metric and no line of the log", async () => {
    await using traced = await startTraced({ script: { steps }, overrides: { tools: leaks() } });
    await singAll(traced);
    traced.service.simulator.verify();
    const metrics = await (await fetch(`${traced.service.adminUrl}/metrics`)).text();
    const told = { spans: textOf(traced.traces.spans), metrics, log: JSON.stringify(traced.lines) };
    for (const [place, text] of Object.entries(told)) {
      for (const canary of Object.values(canaries)) assert.ok(!text.includes(canary), `${canary} is in ${place}`);
    }
  });

  test("is on the spans of requests and tool calls, and nowhere else, when it is captured", async () => {
    await using traced = await startTraced({
      script: { steps },
      overrides: { tools: leaks() },
      config: { telemetry: { captureContent: true } },
    });
    await singAll(traced);
    const { spans } = traced.traces;
    const captured = spans.filter(({ name }) => /^(?:chat|execute_tool) /.test(name));
    const others = textOf(spans.filter((span) => !captured.includes(span)));
    const metrics = await (await fetch(`${traced.service.adminUrl}/metrics`)).text();
    const { claudeError, crash, header, key, endUser, ...content } = canaries;
    for (const canary of Object.values(content)) {
      assert.ok(textOf(captured).includes(canary), canary);
      assert.ok(![others, metrics, JSON.stringify(traced.lines)].some((text) => text.includes(canary)), canary);
    }
    for (const canary of [claudeError, crash, header, key, endUser]) {
      assert.ok(!textOf(spans).includes(canary), canary);
    }
  });
});

type Request = Parameters<TracedService["service"]["chat"]["chat"]>[0];

/** The attributes of the one request that a call makes. */
async function captured(request: Request, respond: Script["steps"][number]) {
  await using traced = await startTraced({
    script: { steps: [{ ...respond, validate: false }] },
    config: { telemetry: { captureContent: true } },
  });
  const { service, traces } = traced;
  const caller: CallerSpan = await traces.caller((headers) => service.chat.chat(request, { headers }));
  await traces.settled();
  const attributes = attemptsOf(caller)[0]?.attributes ?? {};
  const json = (name: string) => (attributes[name] === undefined ? undefined : JSON.parse(String(attributes[name])));
  return {
    error: caller.error,
    input: json("gen_ai.input.messages"),
    output: json("gen_ai.output.messages"),
    system: json("gen_ai.system_instructions"),
    length: JSON.stringify(attributes).length,
  };
}

/** Blocks of a message, and their parts in a span. */
const blocks: Readonly<Record<string, readonly [block: object, part: object]>> = {
  "a text": [{ kind: { case: "text", value: { text: "Hello." } } }, { type: "text", content: "Hello." }],
  "a text with half a character": [
    { kind: { case: "opaque", value: { type: "text", json: '{"type":"text","text":"a\\ud83d"}' } } },
    { type: "text", content: "a\ufffd" },
  ],
  "an image": [
    {
      kind: {
        case: "image",
        value: { source: { source: { case: "data", value: new Uint8Array(9) }, mediaType: "image/png" } },
      },
    },
    { type: "image" },
  ],
  "a block that nobody knows": [
    { kind: { case: "opaque", value: { type: "hologram", json: '{"type":"hologram","text":5,"content":[null]}' } } },
    { type: "hologram" },
  ],
  "results that are none": [
    { kind: { case: "opaque", value: { type: "tool_result", json: '{"type":"tool_result","content":[null,5,{}]}' } } },
    { type: "tool_call_response", id: "", response: [{ type: "" }, { type: "" }, { type: "" }] },
  ],
  "a tool call, whose arguments stay as they are": [
    { kind: { case: "toolUse", value: { id: "t", name: "look", inputJson: '{"b":1.0,"2":12345678901234567890}' } } },
    { type: "tool_call", id: "t", name: "look", arguments: '{"b":1.0,"2":12345678901234567890}' },
  ],
  "the result of a tool": [
    { kind: { case: "toolResult", value: { toolUseId: "t", text: "seen" } } },
    { type: "tool_call_response", id: "t", response: [{ type: "text", content: "seen" }] },
  ],
};

describe("content that is captured", () => {
  for (const [title, [block, part]] of Object.entries(blocks)) {
    test(`has ${title}`, async () => {
      const request = { messages: [user("Hi."), { role: Role.USER, content: [block] }] } as Request;
      const { error, input } = await captured(request, says("Hello."));
      assert.equal(error, undefined);
      assert.deepEqual(input, [
        { role: "user", parts: [{ type: "text", content: "Hi." }] },
        { role: "user", parts: [part] },
      ]);
    });
  }

  test("has what Claude has answered, also where a tool call is cut short", async () => {
    const events = [
      { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
      { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "I look." } },
      { type: "content_block_stop", index: 0 },
      { type: "content_block_start", index: 1, content_block: { type: "tool_use", id: "t", name: "look", input: {} } },
      { type: "content_block_delta", index: 1, delta: { type: "input_json_delta", partial_json: '{"where": "ne' } },
    ];
    const message = {
      id: "m",
      type: "message",
      role: "assistant",
      model: "x",
      content: [],
      usage: { output_tokens: 1 },
    };
    const respond = { events: [{ type: "message_start", message }, ...events].map((data) => ({ data })) };
    const { error, output } = await captured({ messages: [user("Look.")] }, { respond });
    assert.ok(error);
    assert.deepEqual(output, [
      {
        role: "assistant",
        parts: [
          { type: "text", content: "I look." },
          { type: "tool_call", id: "t", name: "look", arguments: '{"where": "ne' },
        ],
      },
    ]);
  });

  for (const [title, block] of Object.entries({
    "is no block at all": { type: "text", text: 5, citations: {} },
    "has citations that are none": { type: "text", text: "Hm.", citations: { a: 1 } },
    "has an input that is none": { type: "tool_use", id: 7, name: null, input: "x" },
    "is of no kind": {},
  })) {
    test(`does no harm where a part of the answer ${title}`, async () => {
      const message = { id: "m", type: "message", role: "assistant", model: "x", content: [], usage: {} };
      const events = [
        { type: "message_start", message },
        { type: "content_block_start", index: 0, content_block: block },
        { type: "content_block_delta", index: 0, delta: { type: "citations_delta", citation: {} } },
        { type: "content_block_stop", index: 0 },
        { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 1 } },
        { type: "message_stop" },
      ];
      const script = { steps: [{ respond: { events: events.map((data) => ({ data })) }, times: 2 }] };
      await using traced = await startTraced({ script, config: { telemetry: { captureContent: true } } });
      const { service, traces } = traced;
      const chat = { messages: [user("Hi.")] };
      for (const call of [
        () => service.chat.chat(chat),
        () => Array.fromAsync(service.chat.streamChat({ chat, omitFinalMessage: true })),
      ]) {
        await traces.caller(() => call());
        await traces.settled();
      }
      assert.equal(traces.spans.filter(({ name }) => name.startsWith("chat ")).length, 2);
      const scrape = await (await fetch(`${service.adminUrl}/metrics`)).text();
      assert.match(scrape, /^parley_claude_active_requests\S* 0$/m);
    });
  }

  test("says nothing of an answer that is not kept", async () => {
    const config = { telemetry: { captureContent: true } };
    await using traced = await startTraced({ script: { steps: [says("Hello.")] }, config });
    const { service, traces } = traced;
    const caller = await traces.caller((headers) =>
      Array.fromAsync(
        service.chat.streamChat({ chat: { messages: [user("Hi.")] }, omitFinalMessage: true }, { headers }),
      ),
    );
    await traces.settled();
    const [span] = attemptsOf(caller);
    assert.match(String(span?.attributes["gen_ai.input.messages"]), /Hi\./);
    assert.equal(span?.attributes["gen_ai.output.messages"], undefined);
  });

  const megabytes = "x".repeat(3_500_000);
  const many = (count: number, text: string) =>
    Array.from({ length: count }, () => ({ kind: { case: "text", value: { text } } }));
  const large: Readonly<Record<string, Request>> = {
    "one text of megabytes": { messages: [user(megabytes)] },
    "a system prompt of megabytes": { messages: [user("Hi.")], system: { text: megabytes } },
    "a message of 2,000 texts": { messages: [{ role: Role.USER, content: many(2_000, "y".repeat(1_000)) }] } as Request,
    "a system prompt of 2,000 texts": {
      messages: [user("Hi.")],
      system: { content: many(2_000, "y".repeat(1_000)) },
    } as Request,
    "10,000 messages": { messages: Array.from({ length: 10_000 }, () => user("y".repeat(100))) },
  };
  for (const [title, request] of Object.entries(large)) {
    test(`is bounded: ${title}`, async () => {
      const { error, input, length } = await captured(request, says("z".repeat(200_000)));
      assert.equal(error, undefined);
      assert.ok(length < 60_000, String(length));
      assert.equal(input.at(-1).role, "user");
      assert.ok(input.at(-1).parts.length > 0);
    });
  }

  test("is bounded: the arguments and the result of a tool", async () => {
    const texts = Array.from({ length: 2_000 }, () => ({ type: "text" as const, text: "y".repeat(1_000) }));
    const tools = new ScriptedTools({ whole: () => megabytes, parts: () => ({ content: texts }) });
    await using traced = await startTraced({
      script: { steps: [calls(["whole", { long: "x".repeat(50_000) }], ["parts"]), says("Much.")] },
      overrides: { tools },
      config: { telemetry: { captureContent: true }, runs: { resultBytes: 10_000_000 } },
    });
    const { service, traces } = traced;
    const caller = await traces.caller((headers) =>
      watch(service.client(AgentService).runAgent(ask(tools) as never, { headers })),
    );
    await traces.settled();
    const { attributes } = caller.span("execute_tool whole");
    assert.match(String(attributes["gen_ai.tool.call.arguments"]), /^\{"long": ?"x{8000,8192}…$/);
    assert.match(String(attributes["gen_ai.tool.call.result"]), /^x{8192}…$/);
    const parts = String(caller.span("execute_tool parts").attributes["gen_ai.tool.call.result"]);
    assert.ok(parts.length < 30_000 && JSON.parse(parts).length > 10, String(parts.length));
  });
});
