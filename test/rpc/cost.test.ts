import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import type { ChatRequestSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { CacheTtl, Role } from "../../gen/parley/v1/content_pb.js";
import { failureOf } from "../support/details.ts";
import { ask, calls, run, says, startAgents } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import { type Service, startService } from "../support/service.ts";

type Chat = MessageInitShape<typeof ChatRequestSchema>;

const messages = [{ role: Role.USER, text: "hello" }];

describe("what an answer costs", () => {
  let service: Service;
  before(async () => {
    const prices = { "claude-sonnet-5-5": { input: 1, output: 100 } };
    service = await startService({ config: { prices } as never });
  });
  after(() => service[Symbol.asyncDispose]());

  test("is told with its usage, by every RPC", async () => {
    const { usage } = await service.chat.chat({ messages });
    assert.ok(usage);
    assert.equal(usage.costMicrosUsd, BigInt(usage.inputTokens + 100 * usage.outputTokens));

    const events = await Array.fromAsync(service.chat.streamChat({ chat: { messages } }));
    const told = events.flatMap(({ event }) => {
      if (event.case === "messageDelta") return event.value.usage?.costMicrosUsd;
      return event.case === "messageStop" ? event.value.finalMessage?.usage?.costMicrosUsd : [];
    });
    assert.deepEqual(told, [usage.costMicrosUsd, usage.costMicrosUsd]);

    const run = await Array.fromAsync(service.client(AgentService).runAgent({ chat: { messages } }));
    const last = run.at(-1)?.event?.event;
    assert.equal(last?.case === "runFinished" && last.value.run?.usage?.costMicrosUsd, usage.costMicrosUsd);
  });

  test("is told also of an answer that is cut short", async () => {
    const steps = [
      { ...says("It is over there."), faults: { cutAfter: 5 } },
      { ...says("It is over there."), faults: { cutAfter: 5 } },
    ];
    const prices = { "claude-sonnet-5-5": { input: 1, output: 100 } };
    await using cut = await startService({ script: { steps }, config: { prices } as never });
    for (const call of [cut.chat.chat({ messages }), cut.chat.streamChat({ chat: { messages } })]) {
      const usage = (await failureOf(call)).partialOutput?.usage;
      assert.ok(usage !== undefined && usage.outputTokens > 0);
      assert.equal(usage.costMicrosUsd, BigInt(usage.inputTokens + 100 * usage.outputTokens));
    }
  });

  test("has its own price for what is written to the prompt cache and read from it", async () => {
    const prices = { "claude-sonnet-5-5": { input: 1, output: 0, cacheRead: 1_000, cacheWrite5m: 1_000_000 } };
    await using priced = await startService({ config: { prices } as never });
    const system = { text: "You are a careful assistant. ".repeat(1_000) };
    for (let call = 0; call < 2; call++) {
      const { usage } = await priced.chat.chat({ messages, system });
      assert.ok(usage);
      const { inputTokens, cacheReadInputTokens: read, cacheCreationInputTokens: written } = usage;
      assert.ok((call === 0 ? written : read) > 1_024);
      assert.equal(usage.costMicrosUsd, BigInt(inputTokens + 1_000 * read + 1_000_000 * written));
    }
  });

  test("is not told of a model without a price", async () => {
    const { usage } = await service.chat.chat({ messages, model: "claude-haiku-5-5" });
    assert.equal(usage?.costMicrosUsd, undefined);
  });

  test("is told by the price that is in force now, and not at all before there is one", async () => {
    const prices = {
      "claude-sonnet-5-5": [
        { from: "2999-01-01", input: 0, output: 1_000 },
        { from: "2026-01-01", input: 0, output: 100 },
        { input: 0, output: 10 },
      ],
      "claude-haiku-5-5": { from: "2999-01-01", input: 0, output: 1_000 },
    };
    await using dated = await startService({ config: { prices } as never });
    const { usage } = await dated.chat.chat({ messages });
    assert.ok(usage);
    assert.equal(usage.costMicrosUsd, BigInt(100 * usage.outputTokens));
    const { usage: unpriced } = await dated.chat.chat({ messages, model: "claude-haiku-5-5" });
    assert.ok(unpriced && unpriced.outputTokens > 0);
    assert.equal(unpriced.costMicrosUsd, undefined);
  });
});

describe("breakpoints of the prompt cache", () => {
  const system = { text: "You are a careful assistant. ".repeat(1_000) };
  const longTool = (description: string) => ({
    kind: {
      case: "custom" as const,
      value: { name: "t", description, inputSchemaJson: '{"type":"object"}' },
    },
  });
  const marked = (service: Service) =>
    JSON.stringify(service.simulator.requests.at(-1)?.body).includes("cache_control");

  test("are set after long prefixes, unless the caller or the operator does not want them", async () => {
    await using service = await startService();
    const rows: readonly (readonly [chat: Chat, isMarked: boolean])[] = [
      [{ messages, system }, true],
      [{ messages }, false],
      [{ messages, system, disablePromptCaching: true }, false],
      [{ messages, system: { text: "Short." }, tools: [longTool("x".repeat(16 * 1024))] }, true],
    ];
    for (const [chat, isMarked] of rows) {
      await service.chat.chat(chat);
      assert.equal(marked(service), isMarked);
    }
    await using plain = await startService({ config: { claude: { promptCaching: { enabled: false } } } });
    await plain.chat.chat({ messages, system });
    assert.equal(marked(plain), false);
  });

  test("are set for StreamChat too, and are cache writes and reads that callers are told of", async () => {
    await using service = await startService();
    const usages = [];
    for (let call = 0; call < 2; call++) {
      for await (const { event } of service.chat.streamChat({ chat: { messages, system } })) {
        if (event.case === "messageDelta") usages.push(event.value.usage);
      }
    }
    const [first, second] = usages;
    assert.ok(first !== undefined && first.cacheCreationInputTokens > 1_024);
    assert.equal(second?.cacheReadInputTokens, first.cacheCreationInputTokens);
    assert.equal(second.cacheCreationInputTokens, 0);
  });

  test("are set after the prefixes that the operator calls long", async () => {
    const minPrefix = Buffer.byteLength(system.text);
    for (const [least, isMarked] of [
      [minPrefix, true],
      [minPrefix + 1, false],
    ] as const) {
      await using service = await startService({ config: { claude: { promptCaching: { minPrefix: least } } } });
      await service.chat.chat({ messages, system });
      assert.equal(marked(service), isMarked);
    }
  });

  test("are not added to those of the caller", async () => {
    await using service = await startService();
    const controls = () => service.simulator.requests.at(-1)?.bodyText.match(/"cache_control":\{[^}]*\}/g);
    const text = { kind: { case: "text" as const, value: system } };
    const ttl = CacheTtl.CACHE_TTL_1H;
    for (const chat of [
      { messages, system, cacheControl: { ttl } },
      { messages, system: { content: [{ ...text, cacheControl: { ttl } }] } },
      { messages: [{ role: Role.USER, content: [{ ...text, cacheControl: { ttl } }] }], system },
    ]) {
      await service.chat.chat(chat);
      assert.deepEqual(controls(), ['"cache_control":{"type":"ephemeral","ttl":"1h"}']);
    }
  });

  test("leave the JSON of native tools as it is", async () => {
    await using service = await startService();
    const value = '{ "type":"web_search_20260318" ,"name":"web_search", "max_uses":1 }';
    await service.chat.chat({ messages, system, tools: [{ kind: { case: "nativeJson", value } }] });
    const { bodyText } = await service.simulator.nextRequest();
    assert.ok(bodyText.includes(value.replace("}", ',"cache_control":{"type":"ephemeral"}}')), "tools");
  });

  for (const disablePromptCaching of [false, true]) {
    test(`are ${disablePromptCaching ? "not " : ""}set in the turns of a run`, async () => {
      const tools = new ScriptedTools({ look: () => "much to see ".repeat(200) });
      await using service = await startAgents(tools, [calls(["look"]), calls(["look", {}, "toolu_2"]), says("Done.")]);
      const seen = await run(service, ask(tools, { chat: { system, disablePromptCaching } }));
      const usages = seen.of("turnFinished").map(({ usage }) => usage);
      assert.equal(usages.length, 3);
      let cached = 0;
      for (const usage of usages) {
        assert.equal(usage?.cacheReadInputTokens, cached);
        assert.equal(usage.cacheCreationInputTokens > 0, !disablePromptCaching);
        cached += usage.cacheCreationInputTokens;
      }
    });
  }

  test("are no part of a count of tokens", async () => {
    await using service = await startService();
    await service.chat.countTokens({ chat: { messages, system } });
    assert.equal(marked(service), false);
  });
});
