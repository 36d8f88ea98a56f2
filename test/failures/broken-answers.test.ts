import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server as NetServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { type Service, startService } from "../support/service.ts";

const request = { messages: [{ role: Role.USER, text: "hello" }] };
type Step = Script["steps"][number];

const answer = { content: [{ text: "Hello, you there" }] };
const start = {
  type: "message_start",
  message: {
    id: "m",
    type: "message",
    role: "assistant",
    model: "x",
    content: [],
    usage: { input_tokens: 9, output_tokens: 1 },
  },
};
const block = { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } };
const delta = { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hello" } };

interface Row {
  readonly step: Step;
  readonly reason: string;
  /** Whether the caller had got events when it happened: then it is final, else it is tried twice. */
  readonly delivered: boolean;
}

const rows: Record<string, Row> = {
  "a connection that is closed before the headers": {
    step: { respond: answer, faults: { closeBeforeHeaders: true } },
    reason: "UPSTREAM_UNREACHABLE",
    delivered: false,
  },
  "no headers in time": { step: { respond: answer, gate: "never" }, reason: "UPSTREAM_TIMEOUT", delivered: false },
  "an answer that ends after its start": {
    step: { respond: answer, faults: { truncateAfter: 1 } },
    reason: "UPSTREAM_STREAM_TRUNCATED",
    delivered: false,
  },
  "an answer that ends in the middle": {
    step: { respond: answer, faults: { truncateAfter: 5 } },
    reason: "UPSTREAM_STREAM_TRUNCATED",
    delivered: true,
  },
  "a connection that breaks before the content": {
    step: { respond: answer, faults: { cutAfter: 1 } },
    reason: "UPSTREAM_STREAM_TRUNCATED",
    delivered: false,
  },
  "a connection that breaks in the middle": {
    step: { respond: answer, faults: { cutAfter: 5 } },
    reason: "UPSTREAM_STREAM_TRUNCATED",
    delivered: true,
  },
  "an answer that stalls before its content": {
    step: { respond: answer, faults: { stallAfter: 1 }, timing: { pingMs: 3_600_000 } },
    reason: "UPSTREAM_STREAM_STALLED",
    delivered: false,
  },
  "an answer that stalls in the middle": {
    step: { respond: answer, faults: { stallAfter: 5 }, timing: { pingMs: 3_600_000 } },
    reason: "UPSTREAM_STREAM_STALLED",
    delivered: true,
  },
  "garbage before the content": {
    step: { respond: answer, faults: { garbageAfter: 1 } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: false,
  },
  "garbage in the middle": {
    step: { respond: answer, faults: { garbageAfter: 5 } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: true,
  },
  "an event that is no JSON": {
    step: { respond: { events: [{ data: start }, { data: block }, { data: delta }, { event: "x", data: "{" }] } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: true,
  },
  "an event that has no type": {
    step: { respond: { events: [{ data: start }, { data: block }, { event: "x", data: { index: 0 } }] } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: true,
  },
  "a delta of a block that has not begun": {
    step: { respond: { events: [{ data: start }, { data: delta }] } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: false,
  },
  "a delta without its text": {
    step: {
      respond: {
        events: [{ data: start }, { data: block }, { data: { ...delta, delta: { type: "text_delta", text: 7 } } }],
      },
    },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: true,
  },
  "a content before the start": {
    step: { respond: { events: [{ data: block }] } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: false,
  },
  "a second start": {
    step: { respond: { events: [{ data: start }, { data: block }, { data: start }] } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: true,
  },
  "a start that has content": {
    step: { respond: { events: [{ data: { ...start, message: { ...start.message, content: [{ type: "text" }] } } }] } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: false,
  },
  "an answer that is not streamed": {
    step: { respond: { status: 200, headers: { "content-type": "application/json" }, raw: '{"type":"message"}' } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: false,
  },
};

for (const status of [202, 204, 205]) {
  rows[`a status of ${status}`] = {
    step: { respond: { status, raw: "" } },
    reason: "UPSTREAM_STREAM_MALFORMED",
    delivered: false,
  };
}

const config = { claude: { firstByteTimeout: 300, idleTimeout: 300, retry: { maxAttempts: 2 } } };

for (const rpc of ["Chat", "StreamChat"]) {
  describe(`an answer that breaks is an error, never a short answer, in ${rpc}`, () => {
    let service: Service;
    before(async () => {
      service = await startService({ config });
    });
    after(() => service[Symbol.asyncDispose]());

    for (const [name, { step, reason, delivered }] of Object.entries(rows)) {
      test(name, async () => {
        service.simulator.run({ steps: [{ times: 2, ...step }] });
        const before = service.simulator.requests.length;
        const told = await failureOf(
          rpc === "Chat" ? service.chat.chat(request) : service.chat.streamChat({ chat: request }),
        );
        assert.equal(told.code, "Unavailable");
        assert.equal(told.errorInfo?.domain, "parley");
        assert.equal(told.errorInfo?.reason, reason);
        assert.equal(told.errorInfo?.metadata.retryable, "true");
        assert.ok(told.retryInfo?.retryDelay);
        assert.equal(service.simulator.requests.length - before, delivered ? 1 : 2);
        if (!delivered) return;
        assert.ok((told.partialOutput?.usage?.inputTokens ?? 0) > 0);
        assert.equal(told.partialOutput?.lastSequence === 0, rpc === "Chat");
      });
    }
  });
}

describe("an answer that is merely cut into odd pieces is whole", () => {
  let service: Service;
  before(async () => {
    service = await startService({ config });
  });
  after(() => service[Symbol.asyncDispose]());

  const text = "Ein Maß Äpfel 😀 – и ещё 漢字";
  const pieces: Record<string, Step["faults"]> = {
    "byte by byte": { splitBytes: 1 },
    "seven bytes at a time": { splitBytes: 7 },
    "with CRLF, byte by byte": { splitBytes: 1, lineEnding: "crlf" },
    "with CR, three bytes at a time": { splitBytes: 3, lineEnding: "cr" },
  };
  for (const [name, faults] of Object.entries(pieces)) {
    test(name, async () => {
      service.simulator.run({ steps: [{ respond: { content: [{ text }] }, ...(faults && { faults }) }] });
      const { content } = await service.chat.chat(request);
      assert.equal(content[0]?.kind.case === "text" && content[0].kind.value.text, text);
    });
  }
});

describe("Claude that cannot be reached", () => {
  test("because nothing listens is UNAVAILABLE", async () => {
    const server: NetServer = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    server.close();
    await once(server, "close");
    await using service = await startService({ config: { ...config, baseUrl: `http://127.0.0.1:${port}` } });
    const told = await failureOf(service.chat.chat(request));
    assert.equal(told.code, "Unavailable");
    assert.equal(told.errorInfo?.reason, "UPSTREAM_UNREACHABLE");
    assert.equal((await service.nextCall()).attempts, 2);
  });

  test("because it speaks something else is UNAVAILABLE", async () => {
    const server: NetServer = createServer((socket) => {
      socket.on("error", () => {});
      socket.end("SSH-2.0-OpenSSH_9.9\r\n");
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    try {
      await using service = await startService({ config: { ...config, baseUrl: `http://127.0.0.1:${port}` } });
      const told = await failureOf(service.chat.chat(request));
      assert.equal(told.code, "Unavailable");
      assert.equal(told.errorInfo?.reason, "UPSTREAM_UNREACHABLE");
    } finally {
      server.close();
    }
  });
});
