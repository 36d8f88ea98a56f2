import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { PriceTable } from "../../src/agent/prices.ts";
import { loadConfig } from "../../src/config/config.ts";
import { ClaudeError } from "../../src/errors/claude-error.ts";
import { newCallRecord } from "../../src/listen/call-record.ts";
import { createLogger } from "../../src/observe/logger.ts";
import { startLocalTelemetry } from "../../src/observe/telemetry.ts";
import { createObservers, type Observers } from "../../src/observers.ts";
import type { ByteSink } from "../../src/upstream/byte-source.ts";
import { MessageStream } from "../../src/upstream/message-stream.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import { ask, calls, says, watch } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import { startService } from "../support/service.ts";

const MANY = 10_000;

/** Names that somebody could have. */
const odd = [
  "",
  "__proto__",
  "constructor",
  "other",
  'a"b',
  "a\\b",
  "a\\",
  "a\nb",
  "a\r\nb",
  "a\u0000b",
  "a\u2028b",
  "a{b}=,c",
  "\ud800",
  "\udc00x",
  "😀",
  "x".repeat(100_000),
];

function name(index: number): string {
  return odd[index] ?? `name ${index}`;
}

interface Series {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|Inf)|NaN)$/su;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\["\\n])*)"(?:,|$)/guy;

/** Reads a scrape as strictly as Prometheus does: each series must be there once. */
function read(scrape: string): readonly Series[] {
  const seen = new Set<string>();
  const lines = scrape.split("\n").filter((line) => line !== "" && !line.startsWith("# "));
  return lines.map((line) => {
    const [, metric = "", labels = "", value] = LINE.exec(line) ?? assert.fail(`no series: ${line}`);
    const found = [...labels.matchAll(LABEL)];
    assert.equal(found.map(([text]) => text).join(""), labels, line);
    assert.equal(line.isWellFormed(), true, line);
    const series = `${metric}{${found.map(([text]) => text).toSorted()}}`;
    assert.ok(!seen.has(series), `twice: ${series}`);
    seen.add(series);
    return {
      name: metric,
      labels: new Map(found.map(([, label = "", text = ""]) => [label, text])),
      value: Number(value),
    };
  });
}

/** The most values that a label may have: those that are admitted, those that are known, and `other`. */
const MAX_VALUES: Readonly<Record<string, number>> = {
  gen_ai_request_model: 100 + 2,
  parley_caller: 200 + 2,
  gen_ai_tool_name: 500 + 1,
  error_type: 100 + 1,
  gen_ai_response_finish_reasons: 20 + 1,
  rpc_method: 30,
  rpc_response_status_code: 17,
  rpc_system_name: 2,
};

/** OpenTelemetry's own limit for the label sets of an instrument. */
const MAX_LABEL_SETS = 2_000;

/** The most series of everything together. A histogram has one for each bucket, its sum and its count. */
const MAX_SERIES = 20_000;

function assertBounded(series: readonly Series[]): void {
  for (const [label, most] of Object.entries(MAX_VALUES)) {
    const values = new Set(series.map(({ labels }) => labels.get(label)).filter((value) => value !== undefined));
    assert.ok(values.size <= most, `${label} has ${values.size} values`);
    for (const value of values)
      assert.ok(value.length <= 2 * 128, `${label} has a value of ${value.length} characters`);
  }
  const sets = Map.groupBy(series, ({ name: metric, labels }) => `${metric} ${labels.get("le")}`);
  for (const [metric, of] of sets) assert.ok(of.length <= MAX_LABEL_SETS, `${metric} has ${of.length} label sets`);
  assert.ok(series.length <= MAX_SERIES, `there are ${series.length} series`);
}

function sum(series: readonly Series[], metric: string): number {
  return series.filter((one) => one.name === metric).reduce((total, { value }) => total + value, 0);
}

const params = (model: string) => ({ model, max_tokens: 9, stream: true as const, messages: [] });

const limits = { signal: new AbortController().signal, deadline: Number.POSITIVE_INFINITY };

const OUTPUT_TOKENS = 7;

/** An answer of Claude's, as it comes. */
function answer(model: string, stopReason: string): MessageStream {
  const message = {
    id: "m",
    type: "message",
    role: "assistant",
    model,
    content: [],
    usage: { input_tokens: 1, output_tokens: 1 },
  };
  const events = [
    { type: "message_start", message },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "Hi" } },
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: stopReason }, usage: { output_tokens: OUTPUT_TOKENS } },
    { type: "message_stop" },
  ];
  const bytes = Buffer.from(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(""));
  return new MessageStream(
    {
      start(sink) {
        sink.data(bytes);
        sink.end();
      },
      pause() {},
      resume() {},
      release() {},
      abort() {},
    },
    undefined,
  );
}

const error = (type: string) =>
  new ClaudeError({ status: 400, type, errorCode: undefined, message: undefined, requestId: undefined });

async function startObservers(): Promise<Observers & { scrape(): Promise<readonly Series[]> }> {
  const config = loadConfig({ ANTHROPIC_API_KEY: "sk-test" });
  const telemetry = startLocalTelemetry();
  const logger = await createLogger({ level: "silent", pretty: false, stream: { write() {} } });
  const observers = createObservers(config, telemetry, new PriceTable(config.prices), logger);
  return { ...observers, scrape: async () => read(await telemetry.scrape()) };
}

describe("however many there are, the number of series is bounded, and no number is lost", { timeout: 120_000 }, () => {
  test("callers, models, and why Claude stops", async () => {
    const observers = await startObservers();
    const upstream = observers.upstream({
      streamMessage: async ({ model, metadata }) => answer(model, metadata?.user_id ?? ""),
    } as Partial<Upstream> as Upstream);
    const ask = async (caller: string, model: string, stopReason: string) => {
      const request = { ...params(model), metadata: { user_id: stopReason } };
      for await (const _ of await upstream.streamMessage(request, { ...limits, origin: { caller } }));
    };
    // Two hundred callers, each of whom asks fifty models: more label sets than OpenTelemetry allows.
    for (let index = 0; index < MANY; index++) await ask(name(Math.floor(index / 50)), name(index % 50), "end_turn");
    for (let index = 0; index < MANY; index++) await ask(name(index), name(index), name(index));
    const series = await observers.scrape();
    assertBounded(series);
    assert.equal(sum(series, "gen_ai_client_inference_usage_output_tokens_total"), 2 * MANY * OUTPUT_TOKENS);
    assert.equal(sum(series, "gen_ai_client_inference_duration_count"), 2 * MANY);
    assert.equal(sum(series, "parley_claude_answers_total"), 2 * MANY);
    assert.equal(sum(series, "parley_claude_unpriced_answers_total"), 2 * MANY);
  });

  test("models that Claude refuses, and what it refuses them with", async () => {
    const observers = await startObservers();
    const refuse = async ({ model }: { readonly model: string }) => Promise.reject(error(model));
    const upstream = observers.upstream({
      streamMessage: refuse,
      countTokens: refuse,
      getModel: (id: string) => refuse({ model: id }),
    } as Partial<Upstream> as Upstream);
    for (let index = 0; index < MANY; index++) {
      const model = name(index);
      const after = { attempt: 1, model: name(index % 2 === 0 ? index : index + 1), error: error(model) };
      const options = { ...limits, origin: { caller: name(index) }, after };
      await upstream.streamMessage(params(model), options).catch(() => {});
      await upstream.countTokens(params(model), options).catch(() => {});
      await upstream.getModel(model, options).catch(() => {});
      observers.onHeader((header) => (header.endsWith("-limit") ? "1000" : undefined), model);
    }
    const series = await observers.scrape();
    assertBounded(series);
    assert.equal(sum(series, "gen_ai_client_inference_duration_count"), 3 * MANY);
    const models = new Set(series.map(({ labels }) => labels.get("gen_ai_request_model")).filter(Boolean));
    assert.deepEqual([...models], ["other"]);
    assert.deepEqual(
      series.filter(({ name }) => name.startsWith("parley_claude_rate_limit_")),
      [],
    );
  });

  test("reasons that calls fail for", async () => {
    const observers = await startObservers();
    const route = { name: "parley.v1.ChatService/Chat", quiet: false };
    for (let index = 0; index < MANY; index++) {
      const peer = { address: name(index), caller: name(index) };
      const record = newCallRecord(route, "grpc", peer, { "x-request-id": name(index) });
      observers.calls.started(record, {});
      Object.assign(record, { code: index % 17, reason: name(index), receivedAt: performance.now(), messagesSent: 1 });
      observers.calls.ended(record);
    }
    const series = await observers.scrape();
    assertBounded(series);
    assert.equal(sum(series, "rpc_server_call_duration_count"), MANY);
    assert.equal(sum(series, "parley_rpc_errors_total"), MANY - Math.ceil(MANY / 17));
  });

  test("tools", async () => {
    const observers = await startObservers();
    const [tool] = new ScriptedTools({ look: () => "" }).tools;
    assert.ok(tool);
    for (let index = 0; index < MANY; index++) {
      const call = { id: name(index), name: name(index), inputJson: "{}" };
      const observed = observers.loop.toolCallStarted({ ...tool, name: name(index) }, call, undefined);
      observed.trace.grpcRequest(name(index), name(index)).ended(name(index));
      observed.ended({ result: { type: "tool_result", tool_use_id: "t", is_error: index % 2 === 0 } });
    }
    const series = await observers.scrape();
    assertBounded(series);
    assert.equal(sum(series, "gen_ai_execute_tool_duration_count"), MANY);
  });
});

test("an answer that ends before its content counts for its model: Claude has answered as that", async () => {
  const observers = await startObservers();
  const { promise: begun, resolve: begin } = Promise.withResolvers<ByteSink>();
  const source = { start: begin, pause() {}, resume() {}, release() {}, abort() {} };
  const upstream = observers.upstream({
    streamMessage: async () => new MessageStream(source, undefined),
  } as Partial<Upstream> as Upstream);
  const stream = await upstream.streamMessage(params("a new model"), { ...limits, origin: { caller: "a" } });
  const sink = await begun;
  const message = { id: "m", model: "a new model", content: [], usage: { input_tokens: 5, output_tokens: 0 } };
  sink.data(Buffer.from(`data: ${JSON.stringify({ type: "message_start", message })}\n\n`));
  await stream.next();
  await stream.return();
  const series = await observers.scrape();
  const used = series.filter(({ name }) => name === "gen_ai_client_inference_usage_input_tokens_total");
  assert.deepEqual(
    used.map(({ labels, value }) => [labels.get("gen_ai_request_model"), value]),
    [["a new model", 5]],
  );
  assert.ok(!series.some(({ name }) => name === "gen_ai_client_inference_time_to_first_chunk_count"));
});

test("what real callers and Claude make up is in no label", { timeout: 120_000 }, async () => {
  const CALLS = 2_000;
  const AT_A_TIME = 50;
  await using service = await startService({ config: { logLevel: "silent", claude: { retry: { maxAttempts: 1 } } } });
  const scrape = async () => read(await (await fetch(`${service.adminUrl}/metrics`)).text());
  const chat = createClient(ChatService, createGrpcTransport({ baseUrl: service.url }));
  // What makes no legal header would not come to the service.
  const call = async (model: string, index: number) => {
    const made = `made-up-${index}`;
    const headers = { "x-request-id": made, "user-agent": made, "x-made-up": made, traceparent: made };
    const request = { model, labels: { [`made-up-${index}`]: made }, messages: [{ role: Role.USER, text: "hello" }] };
    await chat.chat(request, { headers }).catch(() => {});
    await fetch(`${service.url}/made.up.Service${index}/${made}`, { method: "POST" });
  };
  const callAll = async (nameOf: (index: number) => string) => {
    for (let done = 0; done < CALLS / 2; done += AT_A_TIME) {
      await Promise.all(Array.from({ length: AT_A_TIME }, (_, index) => call(nameOf(done + index), done + index)));
    }
  };
  const legal = odd.filter((text) => text.length <= 256 && text.isWellFormed());

  await callAll((index) => legal[index] ?? `refused ${index}`);
  const refused = await scrape();
  assertBounded(refused);
  assert.ok(!JSON.stringify(refused.map(({ labels }) => [...labels])).includes("refused"));

  service.simulator.run({ steps: [{ ...says("Hello."), validate: false, times: CALLS / 2 }] });
  await callAll((index) => legal[index] ?? `accepted ${index}`);
  service.simulator.verify();

  const unknown = Array.from({ length: MANY }, (_, index) => [`made-up-${index}`] as const);
  service.simulator.run({
    steps: [
      { ...calls(...unknown), validate: false },
      { ...says("Sorry."), validate: false },
    ],
  });
  const tools = new ScriptedTools({});
  const seen = await watch(service.client(AgentService).runAgent(ask(tools) as never));
  assert.equal(seen.of("toolCallFinished").length, MANY);

  const series = await scrape();
  assertBounded(series);
  const values = series.flatMap(({ labels }) => [...labels.values()]);
  assert.deepEqual(
    values.filter((value) => value.includes("made")),
    [],
  );
  const calls_ = "rpc_server_call_duration_count";
  assert.equal(sum(series, calls_), 2 * CALLS + 1);
  const models = new Set(series.map(({ labels }) => labels.get("gen_ai_request_model")));
  assert.ok([...models].some((model) => model?.startsWith("accepted")));
});
