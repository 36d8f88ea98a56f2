import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { ChatService, type StreamChatResponse } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import type { Step } from "../../src/simulator/simulator.ts";
import { failureOf, type Told } from "../support/details.ts";
import { type Service, startService, transports } from "../support/service.ts";

const delta = (index: number, delta: object) => ({ type: "content_block_delta", index, delta });
const begin = (index: number, content_block: object) => ({ type: "content_block_start", index, content_block });
const stop = (index: number) => ({ type: "content_block_stop", index });

const told = { input_tokens: 20, output_tokens: 5, cache_creation_input_tokens: 3, cache_read_input_tokens: 6 };
const message = { id: "m", type: "message", role: "assistant", model: "claude-x", content: [], usage: told };
const answer = [
  { type: "message_start", message },
  begin(0, { type: "thinking", thinking: "", signature: "" }),
  delta(0, { type: "thinking_delta", thinking: "Hm, who is it?" }),
  delta(0, { type: "signature_delta", signature: "a signature is no output" }),
  stop(0),
  begin(1, { type: "text", text: "" }),
  delta(1, { type: "text_delta", text: "Hello, " }),
  delta(1, { type: "text_delta", text: "you there" }),
  stop(1),
  begin(2, { type: "tool_use", id: "toolu_1", name: "weather", input: {} }),
  delta(2, { type: "input_json_delta", partial_json: '{"city":' }),
  delta(2, { type: "input_json_delta", partial_json: '"Rome"}' }),
  stop(2),
  {
    type: "message_delta",
    delta: { stop_reason: "tool_use", stop_sequence: null },
    usage: {
      input_tokens: 25,
      output_tokens: 42,
      cache_read_input_tokens: null,
      output_tokens_details: { thinking_tokens: 17 },
    },
  },
  { type: "message_stop" },
].map((data) => ({ data }));

/** As in the log. */
interface Cost {
  readonly input: number;
  readonly output: number;
  readonly cache_read: number;
  readonly cache_write: number;
  readonly thinking?: number;
  readonly estimated?: boolean;
}

const atStart: Cost = { input: 20, output: 5, cache_read: 6, cache_write: 3 };
const inTheEnd: Cost = { input: 25, output: 42, cache_read: 6, cache_write: 3, thinking: 17 };

/** What an answer has cost after so many events: one token for four characters, until Claude has counted. */
const points: Record<string, { readonly events: number; readonly cost: Cost }> = {
  "after its start": { events: 1, cost: atStart },
  "before its first token": { events: 2, cost: atStart },
  "with fewer characters than Claude has counted tokens for": { events: 4, cost: { ...atStart, estimated: true } },
  "in the middle of its text": { events: 7, cost: { ...atStart, output: 6, estimated: true } },
  "after its text": { events: 9, cost: { ...atStart, output: 8, estimated: true } },
  "in the middle of a tool call": { events: 11, cost: { ...atStart, output: 10, estimated: true } },
  "before its last count": { events: 13, cost: { ...atStart, output: 12, estimated: true } },
  "after its last count": { events: 14, cost: inTheEnd },
};

const SILENCE_MS = 2_000;
const silent = { pingMs: 3_600_000 };
const alive = { pingMs: SILENCE_MS / 10 };

/** What keeps an answer from its end after so many events, and what the caller is told. */
const ends: Record<string, { readonly step: (events: number) => Partial<Step>; readonly reason: string }> = {
  "whose deadline passes": {
    step: (events) => ({ gateAfter: { events, gate: "never" }, timing: alive }),
    reason: "DEADLINE_EXCEEDED",
  },
  "that stalls": {
    step: (events) => ({ faults: { stallAfter: events }, timing: silent }),
    reason: "UPSTREAM_STREAM_STALLED",
  },
  "that is truncated": {
    step: (events) => ({ faults: { truncateAfter: events } }),
    reason: "UPSTREAM_STREAM_TRUNCATED",
  },
  "whose connection breaks": {
    step: (events) => ({ faults: { cutAfter: events } }),
    reason: "UPSTREAM_STREAM_TRUNCATED",
  },
  "that turns to garbage": {
    step: (events) => ({ faults: { garbageAfter: events } }),
    reason: "UPSTREAM_STREAM_MALFORMED",
  },
  "that Claude breaks off": {
    step: (events) => ({
      faults: { errorAfter: { events, error: { type: "overloaded_error", message: "too much" } } },
    }),
    reason: "OVERLOADED_ERROR",
  },
};

let service: Service;
before(async () => {
  service = await startService({ config: { claude: { idleTimeout: SILENCE_MS, retry: { maxAttempts: 1 } } } });
});
after(() => service[Symbol.asyncDispose]());

/** A deadline for the service alone: a caller's own would not wait for what it is told. */
const deadline = { "connect-timeout-ms": String(SILENCE_MS) };

const requestOf = (text: string) => ({ messages: [{ role: Role.USER, text }] });
const logged = (id: string) => service.line(({ call }) => call === id);

function costOf(usage: Usage | undefined): Cost {
  assert.ok(usage);
  return {
    input: usage.inputTokens,
    output: usage.outputTokens,
    cache_read: usage.cacheReadInputTokens,
    cache_write: usage.cacheCreationInputTokens,
    ...(usage.thinkingTokens !== undefined && { thinking: usage.thinkingTokens }),
    ...(usage.outputTokensEstimated && { estimated: true }),
  };
}

describe("the cost of an answer", () => {
  describe("that is not complete is told to the caller and to the log", { concurrency: 32 }, () => {
    const rows = Object.entries(ends).flatMap(([end, { step, reason }]) =>
      Object.entries(points).flatMap(([point, { events, cost }]) =>
        ["Chat", "StreamChat"].map((rpc) => ({ name: `${rpc} ${end}, ${point}`, rpc, events, cost, reason, step })),
      ),
    );
    before(() => {
      const steps = rows.map(({ name, step, events }) => ({
        expect: { contains: `<${name}>` },
        respond: { events: answer },
        ...step(events),
      }));
      service.simulator.run({ anyOrder: true, steps });
    });

    for (const { name, rpc, events, cost, reason } of rows) {
      test(name, async () => {
        const client = createClient(ChatService, transports(service.url)["Connect over HTTP/2"] as never);
        const headers = { "x-request-id": randomUUID(), ...(reason === "DEADLINE_EXCEEDED" && deadline) };
        const chat = requestOf(`<${name}>`);
        const failed: Told = await failureOf(
          rpc === "Chat" ? client.chat(chat, { headers }) : client.streamChat({ chat }, { headers }),
        );
        assert.equal(failed.errorInfo?.reason, reason);
        assert.deepEqual(costOf(failed.partialOutput?.usage), cost);
        assert.equal(failed.partialOutput?.lastSequence, rpc === "StreamChat" && events > 1 ? events : 0);
        const line = await logged(headers["x-request-id"]);
        assert.deepEqual(line.usage, cost);
        assert.equal(line.reason, reason);
      });
    }
  });

  describe("that the caller does not wait for is told to the log", () => {
    let service: Service;
    before(async () => {
      service = await startService();
    });
    after(() => service[Symbol.asyncDispose]());

    for (const rpc of ["Chat", "StreamChat"]) {
      for (const [point, { events, cost }] of Object.entries(points)) {
        test(`${rpc}, ${point}`, async () => {
          const stopAfter = (text: string, events: number) => ({
            expect: { contains: text },
            respond: { events: answer },
            gateAfter: { events, gate: "never" },
          });
          service.simulator.run({ anyOrder: true, steps: [stopAfter("first", events), stopAfter("second", 3)] });
          const id = randomUUID();
          const controller = new AbortController();
          const options = { headers: { "x-request-id": id }, signal: controller.signal };
          const chat = requestOf("first");
          const gone = failureOf(
            rpc === "Chat" ? service.chat.chat(chat, options) : service.chat.streamChat({ chat }, options),
          );
          await service.simulator.nextRequest();
          // What Claude said first has arrived when what it said to another caller after that has.
          const second = service.chat.streamChat({ chat: requestOf("second") })[Symbol.asyncIterator]();
          await service.simulator.nextRequest();
          await second.next();
          controller.abort();
          assert.equal((await gone).code, "Canceled");
          assert.deepEqual((await service.line(({ call }) => call === id)).usage, cost);
          await second.return?.();
        });
      }
    }
  });

  for (const rpc of ["Chat", "StreamChat"]) {
    test(`that is complete is told by ${rpc}, and to the log`, async () => {
      service.simulator.run({ steps: [{ respond: { events: answer } }] });
      const options = { headers: { "x-request-id": randomUUID() } };
      if (rpc === "Chat") {
        assert.deepEqual(costOf((await service.chat.chat(requestOf("hello"), options)).usage), inTheEnd);
      } else {
        const received: StreamChatResponse["event"][] = [];
        for await (const { event } of service.chat.streamChat({ chat: requestOf("hello") }, options))
          received.push(event);
        const [first, ...others] = received;
        const [before, last] = others.slice(-2);
        assert.ok(first?.case === "messageStart" && before?.case === "messageDelta" && last?.case === "messageStop");
        assert.deepEqual(costOf(first.value.usage), atStart);
        assert.deepEqual(costOf(before.value.usage), inTheEnd);
        assert.deepEqual(costOf(last.value.finalMessage?.usage), inTheEnd);
      }
      assert.deepEqual((await logged(options.headers["x-request-id"])).usage, inTheEnd);
    });
  }

  test("that has not begun is nothing, and is not told", async () => {
    service.simulator.run({
      steps: [{ respond: { status: 400, error: { type: "invalid_request_error", message: "" } } }],
    });
    const headers = { "x-request-id": randomUUID() };
    const failed = await failureOf(service.chat.chat(requestOf("hello"), { headers }));
    assert.equal(failed.partialOutput, undefined);
    assert.equal((await logged(headers["x-request-id"])).usage, undefined);
  });
});
