import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { ModelService } from "../../gen/parley/v1/model_service_pb.js";
import { failureOf } from "../support/details.ts";
import { startService } from "../support/service.ts";

const SECRET = "the-secret-of-the-prompt";
const ANSWER = "the-secret-of-the-answer";
const request = { messages: [{ role: Role.USER, text: SECRET }] };
const answer = {
  content: [{ text: ANSWER }],
  usage: { input_tokens: 11, output_tokens: 7, cache_read_input_tokens: 3 },
};

describe("the log", () => {
  test("has one line a call, with what it cost and how it went", async () => {
    await using service = await startService({
      script: { steps: [{ respond: { ...answer, headers: { "request-id": "req_1" } } }] },
    });
    await service.chat.chat({ ...request, labels: { team: "search" } }, { headers: { "x-request-id": "call-1" } });
    const { time, duration_ms, ttft_ms, ...line } = await service.nextCall();
    assert.ok(Number(duration_ms) >= Number(ttft_ms) && Number(ttft_ms) > 0);
    assert.ok(!Number.isNaN(Date.parse(String(time))));
    assert.deepEqual(line, {
      level: "info",
      call: "call-1",
      method: "parley.v1.ChatService/Chat",
      protocol: "grpc",
      caller: "anonymous",
      peer: "127.0.0.1",
      code: "OK",
      model: "claude-sonnet-5-5",
      usage: { input: 11, output: 7, cache_read: 3, cache_write: 0, thinking: 0 },
      upstream_request_id: "req_1",
      attempts: 1,
      labels: { team: "search" },
      msg: "call",
    });
  });

  test("has a line also for calls that come to no RPC", async () => {
    await using service = await startService();
    const post = (path: string, body: string, type = "application/json") =>
      fetch(`${service.url}/${path}`, { method: "POST", body, headers: { "content-type": type } });
    await post("parley.v1.ChatService/Shout", "{}");
    assert.equal((await service.nextCall()).code, "UNIMPLEMENTED");
    await post("parley.v1.ChatService/Chat", "{");
    const malformed = await service.nextCall();
    assert.equal(malformed.code, "INVALID_ARGUMENT");
    assert.equal(malformed.reason, "INVALID_REQUEST");
    await post("parley.v1.ChatService/Chat", "{}", "text/plain");
    assert.equal((await service.nextCall()).protocol, "unknown");
  });

  test("tells probes at debug level only", async () => {
    await using service = await startService();
    await service.client(Health).check({});
    assert.equal((await service.nextCall()).level, "debug");
  });

  test("never has a prompt, an answer or a key, however a call ends", async () => {
    const steps = [
      { respond: answer },
      { respond: answer, faults: { truncateAfter: 4 } },
      { respond: { status: 400, error: { type: "invalid_request_error", message: `messages.0: ${SECRET}` } } },
      { respond: answer, faults: { garbageAfter: 4 } },
      { respond: { events: [{ event: "x", data: ANSWER }] }, times: 3 },
    ];
    await using service = await startService({ script: { steps } });
    for (const _ of steps) await service.chat.chat(request).catch(() => {});
    await failureOf(service.chat.chat({ messages: [{ role: 9 as Role, text: SECRET }] }));
    await service.client(ModelService).listModels({});
    for (let calls = 0; calls < steps.length + 2; calls++) await service.nextCall();
    const text = JSON.stringify(service.logs);
    for (const secret of [SECRET, ANSWER, "sk-test"]) assert.ok(!text.includes(secret), secret);
  });

  test("tells where a fault of Parley's own is, but not its message", async () => {
    const fault = new TypeError(SECRET, { cause: new Error(ANSWER) });
    const upstream = {
      streamMessage: () => Promise.reject(fault),
      countTokens: () => Promise.reject(fault),
      listModels: () => Promise.reject(fault),
      getModel: () => Promise.reject(fault),
      [Symbol.asyncDispose]: async () => {},
    };
    await using service = await startService({ overrides: { upstream } });
    const told = await failureOf(service.chat.chat(request));
    assert.equal(told.code, "Internal");
    assert.equal(told.message, "internal error");
    assert.equal(told.errorInfo?.reason, "INTERNAL");
    const line = await service.nextCall();
    assert.equal(line.level, "warn");
    assert.match((line.err as { stack: string }).stack, /logs\.test\.ts/);
    assert.ok(!JSON.stringify(service.logs).includes("secret"));
  });
});

describe("the metrics", () => {
  test("count calls by method and outcome, and tell of the process", async () => {
    await using service = await startService({ script: { steps: [{ respond: answer }], afterwards: "converse" } });
    await service.chat.chat(request);
    await failureOf(service.chat.chat({}));
    await service.nextCall();
    await service.nextCall();
    const text = await (await fetch(`${service.adminUrl}/metrics`)).text();
    const count = (code: string) =>
      new RegExp(
        `^rpc_server_call_duration_count\\{.*rpc_method="parley.v1.ChatService/Chat".*status_code="${code}".*\\} (\\d+)$`,
        "m",
      ).exec(text)?.[1];
    assert.equal(count("OK"), "1", text);
    assert.equal(count("INVALID_ARGUMENT"), "1");
    for (const name of [
      "process_cpu_time",
      "process_memory_usage",
      "v8js_memory_heap_used",
      "nodejs_eventloop_delay_p99",
    ]) {
      assert.match(text, new RegExp(`^${name}`, "m"));
    }
  });

  test("do not grow with what callers ask for", async () => {
    await using service = await startService();
    for (let i = 0; i < 50; i++) await fetch(`${service.url}/made.up.Service/Method${i}`, { method: "POST" });
    for (let i = 0; i < 50; i++) await service.nextCall();
    const text = await (await fetch(`${service.adminUrl}/metrics`)).text();
    assert.ok(!text.includes("made.up"));
  });
});
