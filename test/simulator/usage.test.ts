import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Message, Usage } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { answer, ask, type Json, post, request, streamEvents, WEATHER_TOOL } from "./client.ts";

const LONG = "word ".repeat(1000);
const ephemeral = { type: "ephemeral" };
const hour = { type: "ephemeral", ttl: "1h" };

/** input, written for 5 minutes, written for an hour, read */
function split(usage: Usage): [number, number, number, number] {
  const { ephemeral_5m_input_tokens: short = 0, ephemeral_1h_input_tokens: long = 0 } = usage.cache_creation ?? {};
  assert.equal(usage.cache_creation_input_tokens, short + long);
  return [usage.input_tokens, short, long, usage.cache_read_input_tokens ?? -1];
}

async function usageOf(simulator: Simulator, body: Json): Promise<[number, number, number, number]> {
  return split((await answer(simulator, body)).usage);
}

const system = (text: string, cache_control: Json | undefined = ephemeral) => ({
  system: [{ type: "text", text, ...(cache_control && { cache_control }) }],
});

describe("tokens", () => {
  test("counted beforehand are those that are billed", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    const { max_tokens: _maxTokens, ...countable } = ask(LONG, {
      tools: [WEATHER_TOOL],
      ...system("Be kind.", undefined),
    });
    const counted = await answer(simulator, countable, "/v1/messages/count_tokens");
    const message: Message = await answer(simulator, { ...countable, max_tokens: 10 });
    assert.equal(counted.input_tokens, message.usage.input_tokens);
    assert.ok(counted.input_tokens > 1250);
  });

  test("of thinking and text add up", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    const plain: Message = await answer(simulator, ask("Hi"));
    const thoughtful: Message = await answer(simulator, ask("Hi", { thinking: { type: "adaptive" } }));
    const thinking = thoughtful.usage.output_tokens_details?.thinking_tokens ?? 0;
    assert.equal(thoughtful.usage.output_tokens, plain.usage.output_tokens + thinking);
  });
});

describe("the prompt cache", () => {
  test("is written by the first request and read by the next with the same beginning", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    const [input, written, , read] = await usageOf(simulator, ask("One", system(LONG)));
    assert.ok(written > 1250 && input < 10);
    assert.equal(read, 0);
    assert.deepEqual(await usageOf(simulator, ask("Two", system(LONG))), [input, 0, 0, written]);
    assert.deepEqual(await usageOf(simulator, ask("One", system(`${LONG}!`))), [input, written + 1, 0, 0]);
  });

  test("keeps entries for 5 minutes or an hour after their last use", async () => {
    let now = 0;
    await using simulator = await createSimulator({ pacing: "instant", now: () => now });
    const reads = async (body: Json) => (await usageOf(simulator, body))[3] > 0;
    const short = ask("Hi", system(LONG));
    const long = ask("Hi", system(`${LONG} long`, hour));
    await answer(simulator, short);
    assert.ok((await usageOf(simulator, long))[2] > 1250);
    now += 299_000;
    assert.equal(await reads(short), true);
    now += 299_000;
    assert.equal(await reads(short), true);
    now += 300_000;
    assert.equal(await reads(short), false);
    now += 2_600_000;
    assert.equal(await reads(long), true);
    now += 3_600_000;
    assert.equal(await reads(long), false);
  });

  test("has a part for each breakpoint, with its own life", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    const body = ask("Hi", {
      tools: [{ ...WEATHER_TOOL, description: LONG, cache_control: hour }],
      ...system(LONG),
    });
    const [input, short, long] = await usageOf(simulator, body);
    assert.ok(short > 1250 && long > 1250);
    assert.deepEqual(await usageOf(simulator, body), [input, 0, 0, short + long]);
    assert.deepEqual(await usageOf(simulator, { ...body, ...system(`Other ${LONG}`) }), [input, short + 2, 0, long]);
  });

  test("moves along with a conversation when the request asks for it", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    const opening = { role: "user", content: LONG };
    const first: Message = await answer(simulator, request({ messages: [opening], cache_control: ephemeral }));
    const [input, written] = split(first.usage);
    assert.equal(input, 0);
    const messages = [opening, { role: "assistant", content: first.content }, { role: "user", content: "Go on" }];
    const [nextInput, nextWritten, , read] = await usageOf(simulator, request({ messages, cache_control: ephemeral }));
    assert.equal(nextInput, 0);
    assert.equal(read, written);
    assert.ok(nextWritten > 0 && nextWritten < 100);
  });

  test("finds an entry whose breakpoint has moved on", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    const block = (text: string, cache_control?: Json) => ({
      type: "text",
      text,
      ...(cache_control && { cache_control }),
    });
    const [, written] = await usageOf(simulator, request({ system: [block(LONG, ephemeral)] }));
    const moved = request({ system: [block(LONG), block("And more.", ephemeral)] });
    assert.equal((await usageOf(simulator, moved))[3], written);
  });

  test("finds an entry at most 20 blocks back", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    const blocks = (count: number) =>
      Array.from({ length: count }, (_, index) => ({ type: "text", text: index === 0 ? LONG : `block ${index}` }));
    const body = (count: number) =>
      request({ messages: [{ role: "user", content: blocks(count) }], cache_control: ephemeral });
    await answer(simulator, body(1));
    assert.ok((await usageOf(simulator, body(20)))[3] > 0);
    assert.equal((await usageOf(simulator, body(40)))[3] > 0, false);
  });

  const changes: [name: string, change: Json, read: boolean][] = [
    ["another model", { model: "claude-opus-5" }, false],
    ["another speed", { speed: "fast" }, false],
    ["other tools", { tools: [WEATHER_TOOL] }, false],
    ["another effort, which matters from the messages on", { output_config: { effort: "low" } }, true],
    ["more messages", ask("Something else"), true],
  ];
  for (const [name, change, expected] of changes) {
    test(`${expected ? "survives" : "does not survive"} ${name}`, async () => {
      await using simulator = await createSimulator({ pacing: "instant" });
      await answer(simulator, ask("Hi", system(LONG)));
      assert.equal((await usageOf(simulator, { ...ask("Hi", system(LONG)), ...change }))[3] > 0, expected);
    });
  }

  test("does not take prompts below the model's minimum, unless told to", async () => {
    await using strict = await createSimulator({ pacing: "instant" });
    const [, written] = await usageOf(strict, ask("Hi", system("Short.")));
    assert.equal(written, 0);
    await using easy = await createSimulator({ pacing: "instant", minimumCacheTokens: 0 });
    const [input, easilyWritten] = await usageOf(easy, ask("Hi", system("Short.")));
    assert.ok(easilyWritten > 0);
    assert.deepEqual(await usageOf(easy, ask("Hi", system("Short."))), [input, 0, 0, easilyWritten]);
  });

  test("is warmed up by a request that generates nothing", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    await answer(simulator, ask("warm-up", { ...system(LONG), max_tokens: 0 }));
    assert.ok((await usageOf(simulator, ask("Hi", system(LONG))))[3] > 0);
  });

  test("is the same for streams, whose last usage is cumulative", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    await answer(simulator, ask("Hi", system(LONG)));
    const message: Message = await answer(simulator, ask("Hi", system(LONG)));
    const events = await streamEvents(simulator, ask("Hi", system(LONG)));
    const start = events.find((event) => event.event === "message_start")?.data.message.usage;
    const end = events.find((event) => event.event === "message_delta")?.data.usage;
    assert.deepEqual(split(start), split(message.usage));
    assert.equal(start.output_tokens, 1);
    assert.equal(end.output_tokens, message.usage.output_tokens);
    assert.equal(end.input_tokens, message.usage.input_tokens);
    assert.equal(end.cache_read_input_tokens, message.usage.cache_read_input_tokens);
  });
});

describe("cache diagnostics", () => {
  const rows: [name: string, change: Json, reason: string | null][] = [
    [
      "nothing but new messages",
      {
        messages: [
          { role: "user", content: "Hello, Claude" },
          { role: "assistant", content: "Hi" },
          { role: "user", content: "And?" },
        ],
      },
      null,
    ],
    ["another model", { model: "claude-sonnet-5-5" }, "model_changed"],
    ["another system prompt", { system: "Be brief." }, "system_changed"],
    ["other tools", { tools: [WEATHER_TOOL] }, "tools_changed"],
    ["an edited message", ask("Hello, Claudia"), "messages_changed"],
    ["another effort", { output_config: { effort: "low" } }, "unavailable"],
  ];
  for (const [name, change, reason] of rows) {
    test(`tell ${reason ?? "nothing"} for ${name}`, async () => {
      await using simulator = await createSimulator({ pacing: "instant" });
      const first: Message = await answer(simulator, request({ diagnostics: { previous_message_id: null } }));
      assert.equal(first.diagnostics, null);
      const body = { ...request(), ...change, diagnostics: { previous_message_id: first.id } };
      const second: Message = await answer(simulator, body);
      assert.equal(second.diagnostics?.cache_miss_reason?.type ?? null, reason);
    });
  }

  test("tell when the earlier message is not known", async () => {
    await using simulator = await createSimulator({ pacing: "instant" });
    const message: Message = await answer(simulator, request({ diagnostics: { previous_message_id: "msg_x" } }));
    assert.deepEqual(message.diagnostics, { cache_miss_reason: { type: "previous_message_not_found" } });
  });
});

describe("rate limits", () => {
  test("are announced on every message, with what is left of them", async () => {
    const now = Date.parse("2026-11-22T12:00:00Z");
    await using simulator = await createSimulator({
      pacing: "instant",
      requestsPerMinute: 60,
      tokensPerMinute: 6000,
      now: () => now,
    });
    const response = await post(simulator, request());
    const { usage } = (await response.json()) as Message;
    const used = usage.input_tokens + usage.output_tokens;
    assert.equal(response.headers.get("anthropic-ratelimit-requests-limit"), "60");
    assert.equal(response.headers.get("anthropic-ratelimit-requests-remaining"), "59");
    assert.equal(response.headers.get("anthropic-ratelimit-requests-reset"), "2026-11-22T12:00:01Z");
    assert.equal(response.headers.get("anthropic-ratelimit-tokens-limit"), "6000");
    assert.equal(response.headers.get("anthropic-ratelimit-tokens-remaining"), String(6000 - used));
    assert.equal(response.headers.get("anthropic-ratelimit-input-tokens-remaining"), String(6000 - usage.input_tokens));
    assert.equal(
      response.headers.get("anthropic-ratelimit-output-tokens-remaining"),
      String(6000 - usage.output_tokens),
    );
  });

  test("of requests answer 429 until there is room again", async () => {
    let now = 0;
    await using simulator = await createSimulator({ pacing: "instant", requestsPerMinute: 2, now: () => now });
    await answer(simulator, request());
    await answer(simulator, request());
    const refused = await post(simulator, request());
    assert.equal(refused.status, 429);
    assert.equal(refused.headers.get("retry-after"), "30");
    assert.equal(((await refused.json()) as { error: { type: string } }).error.type, "rate_limit_error");
    now += 30_000;
    await answer(simulator, request());
  });

  test("of tokens count what is not read from the cache", async () => {
    const now = 0;
    await using simulator = await createSimulator({ pacing: "instant", tokensPerMinute: 2000, now: () => now });
    const body = ask("Hi", system(LONG));
    await answer(simulator, body);
    await answer(simulator, body);
    const refused = await post(simulator, ask(LONG));
    assert.equal(refused.status, 429);
    assert.ok(Number(refused.headers.get("retry-after")) > 0);
  });
});
