import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { ModelService } from "../../gen/parley/v1/model_service_pb.js";
import { ask, says, watch } from "../support/runs.ts";
import { outline } from "../support/traces.ts";
import { assertOneTrace, attemptsOf, startTraced } from "./traced-service.ts";

const request = { messages: [{ role: Role.USER, text: "hello" }] };
const failing = (status: number, type: string, headers = {}) => ({
  respond: { status, error: { type, message: "No." }, headers: { "request-id": `req_${status}`, ...headers } },
});
const overloaded = failing(529, "overloaded_error");
const retry = { maxAttempts: 2 };

describe("each request to Claude has a span of its own", () => {
  test("when it is made again, and says what the one before came to", async () => {
    await using traced = await startTraced({ script: { steps: [overloaded, says("Hello.")] } });
    const { service, traces } = traced;
    const caller = await traces.caller((headers) => service.chat.chat(request, { headers }));
    await assertOneTrace(caller, traced);
    assert.deepEqual(outline(caller.spans), [
      "caller",
      "  parley.v1.ChatService/Chat",
      "    chat claude-sonnet-5-5 !OVERLOADED_ERROR",
      "    chat claude-sonnet-5-5",
    ]);
    const [first, second] = attemptsOf(caller).map(({ attributes }) => attributes);
    assert.equal(first?.["http.request.resend_count"], undefined);
    assert.equal(first?.["http.response.status_code"], 529);
    assert.equal(first?.["anthropic.request.id"], "req_529");
    assert.equal(second?.["http.request.resend_count"], 1);
    assert.equal(caller.span("parley.v1.ChatService/Chat").attributes["parley.attempts"], 2);
  });

  test("when another model is asked", async () => {
    await using traced = await startTraced({
      script: { steps: [overloaded, overloaded, says("Hello.")] },
      config: { claude: { fallbackModels: ["claude-opus-5-5"], retry } },
    });
    const { service, traces } = traced;
    const caller = await traces.caller((headers) => service.chat.chat(request, { headers }));
    await assertOneTrace(caller, traced);
    assert.deepEqual(outline(caller.spans).slice(2), [
      "    chat claude-sonnet-5-5 !OVERLOADED_ERROR",
      "    chat claude-sonnet-5-5 !OVERLOADED_ERROR",
      "    chat claude-opus-5-5",
    ]);
    const last = attemptsOf(caller)[2]?.attributes;
    assert.equal(last?.["http.request.resend_count"], 2);
    assert.equal(last?.["gen_ai.request.model"], "claude-opus-5-5");
    assert.equal(last?.["gen_ai.response.model"], "claude-opus-5-5");
  });

  test("also when a caller goes away while it waits to try again", async () => {
    const steps = [failing(529, "overloaded_error", { "retry-after": "15" })];
    await using traced = await startTraced({ script: { steps } });
    const { service, traces } = traced;
    const leaving = new AbortController();
    const caller = await traces.caller(async (headers) => {
      const call = service.chat.chat(request, { headers, signal: leaving.signal });
      call.catch(() => {});
      await traces.span(({ name }) => name.startsWith("chat "));
      leaving.abort();
      await call;
    });
    await assertOneTrace(caller, traced);
    assert.deepEqual(outline(caller.spans).slice(1), [
      "  parley.v1.ChatService/Chat ?CANCELLED",
      "    chat claude-sonnet-5-5 !OVERLOADED_ERROR",
    ]);
  });

  test("that says what was asked, and what came", async () => {
    const usage = {
      input_tokens: 40,
      cache_read_input_tokens: 20,
      cache_creation_input_tokens: 10,
      output_tokens: 30,
      output_tokens_details: { thinking_tokens: 5 },
    };
    const respond = { content: [{ text: "Hello." }], usage, id: "msg_1", headers: { "request-id": "req_1" } };
    await using traced = await startTraced({ script: { steps: [{ respond }] } });
    const { service, traces } = traced;
    const caller = await traces.caller((headers) => service.chat.chat({ ...request, maxTokens: 99 }, { headers }));
    await assertOneTrace(caller, traced);
    const { "gen_ai.response.time_to_first_chunk": first, ...attributes } = attemptsOf(caller)[0]?.attributes ?? {};
    assert.ok(Number(first) > 0 && Number(first) < 10, String(first));
    assert.deepEqual(attributes, {
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "anthropic",
      "server.address": "127.0.0.1",
      "server.port": Number(new URL(service.config.baseUrl).port),
      "gen_ai.request.model": "claude-sonnet-5-5",
      "gen_ai.request.max_tokens": 99,
      "gen_ai.request.stream": true,
      "gen_ai.response.id": "msg_1",
      "gen_ai.response.model": "claude-sonnet-5-5",
      "gen_ai.response.finish_reasons": ["end_turn"],
      "anthropic.request.id": "req_1",
      "gen_ai.usage.input_tokens": 70,
      "gen_ai.usage.output_tokens": 30,
      "gen_ai.usage.cache_read.input_tokens": 20,
      "gen_ai.usage.cache_write.input_tokens": 10,
      "gen_ai.usage.reasoning.output_tokens": 5,
    });
  });

  test("also when it is no request for an answer", async () => {
    await using traced = await startTraced({ config: { claude: { retry: { maxAttempts: 1 } } } });
    const { service, traces } = traced;
    const models = service.client(ModelService);
    const caller = await traces.caller(async (headers) => {
      await service.client(ChatService).countTokens({ chat: request }, { headers });
      await models.listModels({}, { headers });
      await models.getModel({ id: "claude-opus-5-5" }, { headers });
      await models.getModel({ id: "nobody-knows" }, { headers });
    });
    await assertOneTrace(caller, traced);
    assert.deepEqual(outline(caller.spans), [
      "caller",
      "  parley.v1.ChatService/CountTokens",
      "    count_tokens claude-sonnet-5-5",
      "  parley.v1.ModelService/ListModels",
      "    list_models",
      "  parley.v1.ModelService/GetModel",
      "    get_model claude-opus-5-5",
      "  parley.v1.ModelService/GetModel ?NOT_FOUND_ERROR",
      "    get_model nobody-knows !NOT_FOUND_ERROR",
    ]);
  });
});

test("a turn that is cut for a last one says that the time was up, and so does its request", async () => {
  const content = [
    { text: "This is the answer that they want" },
    { type: "tool_use", id: "late", name: "current_time", input: { timezone: "Europe/Zurich" } },
  ];
  // The time is up while Claude writes its text, which may go on, and the tool call behind that may not.
  const steps = [{ respond: { content }, timing: { firstTokenMs: 0, tokensPerSecond: 10 } }, says("My best.")];
  await using traced = await startTraced({ script: { steps } });
  const { service, traces } = traced;
  const request = ask(["current_time"], { budget: { maxDuration: durationFromMs(500) } });
  const caller = await traces.caller((headers) =>
    watch(service.client(AgentService).runAgent(request as never, { headers })),
  );
  await assertOneTrace(caller, traced);
  assert.deepEqual(outline(caller.spans), [
    "caller",
    "  parley.v1.AgentService/RunAgent",
    "    invoke_agent parley",
    "      turn !DEADLINE_EXCEEDED",
    "        chat claude-sonnet-5-5 !DEADLINE_EXCEEDED",
    "      turn",
    "        chat claude-sonnet-5-5",
  ]);
  assert.equal(caller.span("invoke_agent parley").attributes["parley.run.exhausted_budget"], "DURATION");
});
