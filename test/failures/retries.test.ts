import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { RetryBudget } from "../../src/agent/retry.ts";
import type { Script } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { startService } from "../support/service.ts";

const request = { messages: [{ role: Role.USER, text: "hello" }] };
const overloaded = { status: 529, error: { type: "overloaded_error", message: "Overloaded" } };
const answer = { content: [{ text: "Hello" }] };
type Step = Script["steps"][number];

const models = (service: { simulator: { requests: readonly { body: unknown }[] } }) =>
  service.simulator.requests.map(({ body }) => (body as { model: string }).model);

describe("a failed request is made again", () => {
  test("until it succeeds, and the caller sees one answer", async () => {
    const steps: Step[] = [
      { respond: overloaded },
      { respond: answer, faults: { closeBeforeHeaders: true } },
      { respond: answer },
    ];
    await using service = await startService({ script: { steps } });
    const response = await service.chat.chat(request);
    assert.equal(response.content.length, 1);
    assert.equal((await service.nextCall()).attempts, 3);
    service.simulator.verify();
  });

  test("and a stream that begins again has gap-free sequence numbers and one start", async () => {
    const steps: Step[] = [{ respond: answer, faults: { truncateAfter: 1 } }, { respond: answer }];
    await using service = await startService({ script: { steps } });
    const kinds: (string | undefined)[] = [];
    for await (const { sequence, event } of service.chat.streamChat({ chat: request })) {
      assert.equal(sequence, kinds.length + 1);
      kinds.push(event.case);
    }
    assert.equal(kinds.filter((kind) => kind === "messageStart").length, 1);
    assert.equal(kinds.at(-1), "messageStop");
  });

  test("but not before the time that Claude asks for", async () => {
    const script = { steps: [{ respond: { ...overloaded, headers: { "retry-after": "1" } } }, { respond: answer }] };
    await using service = await startService({ script, overrides: { retrier: { random: () => 0 } } });
    await service.chat.chat(request);
    const [first, second] = service.simulator.requests;
    assert.ok((second?.receivedAt ?? 0) - (first?.receivedAt ?? 0) >= 999);
  });

  test("at once, when Claude asks for no wait", async () => {
    const retry = { baseDelay: 3_600_000, maxDelay: 3_600_000 };
    const script = { steps: [{ respond: { ...overloaded, headers: { "retry-after": "0" } } }, { respond: answer }] };
    await using service = await startService({
      script,
      config: { claude: { retry } },
      overrides: { retrier: { random: () => 0 } },
    });
    await service.chat.chat(request);
  });

  test("also when tokens are counted and models listed", async () => {
    const steps: Step[] = [
      { expect: { path: "/v1/messages/count_tokens" }, respond: overloaded },
      { expect: { method: "GET", path: "/v1/models" }, respond: overloaded },
    ];
    await using service = await startService({ script: { steps, afterwards: "converse" } });
    assert.ok((await service.chat.countTokens({ chat: request })).inputTokens > 0);
  });

  test("unless failures have used up the budget", async () => {
    const script = { steps: [{ times: 1_000, respond: overloaded }] };
    await using service = await startService({ script, config: { claude: { retry: { maxAttempts: 2 } } } });
    const calls = 200;
    for (let i = 0; i < calls; i++) await failureOf(service.chat.chat(request));
    const retries = service.simulator.requests.length - calls;
    assert.ok(retries <= RetryBudget.maxTokens / 4, `${retries} retries of ${calls} failed calls`);
  });
});

describe("a model that is overloaded is replaced by the next", () => {
  const fallback = (model: string, respond: Step["respond"], times = 1): Step => ({
    times,
    expect: { body: { model } },
    ...(respond && { respond }),
  });

  test("of the configuration, and the answer tells which one it is from", async () => {
    const steps = [
      fallback("claude-sonnet-5-5", overloaded, 2),
      fallback("claude-haiku-5-5", { ...answer, model: "claude-haiku-5-5" }),
    ];
    const claude = { fallbackModels: ["claude-haiku-5-5"], retry: { maxAttempts: 2 } };
    await using service = await startService({ script: { steps }, config: { claude } });
    const response = await service.chat.chat(request);
    assert.equal(response.model, "claude-haiku-5-5");
    assert.equal((await service.nextCall()).model, "claude-haiku-5-5");
    service.simulator.verify();
  });

  test("of the request, which counts more than the configuration", async () => {
    const steps = [
      fallback("claude-opus-5-5", overloaded),
      fallback("claude-sonnet-5-5", overloaded),
      fallback("claude-haiku-5-5", answer),
    ];
    const claude = { fallbackModels: ["claude-fable-5-2"], retry: { maxAttempts: 1 } };
    await using service = await startService({ script: { steps }, config: { claude } });
    const fallbackModels = ["claude-sonnet-5-5", "claude-haiku-5-5"];
    await service.chat.chat({ ...request, model: "claude-opus-5-5", fallbackModels });
    assert.deepEqual(models(service), ["claude-opus-5-5", ...fallbackModels]);
  });

  test("unless the request forbids it", async () => {
    const claude = { fallbackModels: ["claude-haiku-5-5"], retry: { maxAttempts: 1 } };
    await using service = await startService({ script: { steps: [{ respond: overloaded }] }, config: { claude } });
    await failureOf(service.chat.chat({ ...request, disableFallback: true }));
    assert.deepEqual(models(service), ["claude-sonnet-5-5"]);
  });

  test("and when all fail the caller is told of the first, with a reason to try again", async () => {
    const refused = { status: 400, error: { type: "invalid_request_error", message: "thinking: not supported" } };
    const steps = [fallback("claude-sonnet-5-5", overloaded), fallback("claude-haiku-5-5", refused)];
    const claude = { fallbackModels: ["claude-haiku-5-5"], retry: { maxAttempts: 1 } };
    await using service = await startService({ script: { steps }, config: { claude } });
    const told = await failureOf(service.chat.chat(request));
    assert.equal(told.errorInfo?.reason, "OVERLOADED_ERROR");
    service.simulator.verify();
  });

  for (const [status, type] of [
    [400, "invalid_request_error"],
    [401, "authentication_error"],
    [404, "not_found_error"],
    [429, "rate_limit_error"],
  ] as const) {
    test(`but not for ${status}, which another model does not mend`, async () => {
      const claude = { fallbackModels: ["claude-haiku-5-5"], retry: { maxAttempts: 1 } };
      const script = { steps: [{ respond: { status, error: { type, message: "no" } } }] };
      await using service = await startService({ script, config: { claude } });
      await failureOf(service.chat.chat(request));
      assert.deepEqual(models(service), ["claude-sonnet-5-5"]);
    });
  }

  test("and not once an answer has begun", async () => {
    const claude = { fallbackModels: ["claude-haiku-5-5"] };
    const script = { steps: [{ respond: answer, faults: { truncateAfter: 4 } }] };
    await using service = await startService({ script, config: { claude } });
    await failureOf(service.chat.streamChat({ chat: request }));
    assert.deepEqual(models(service), ["claude-sonnet-5-5"]);
  });
});
