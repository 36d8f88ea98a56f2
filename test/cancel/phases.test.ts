import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { type Service, startService, transports } from "../support/service.ts";

const request = { messages: [{ role: Role.USER, text: "hello" }] };
type Step = Script["steps"][number];

interface Phase {
  readonly step: Step;
  /** Whether Claude's side sees its socket closed: there is none while waiting to try again. */
  readonly open: boolean;
  /** Whether the cost of what was received is known. */
  readonly usage: boolean;
}

const answer = { content: [{ text: "Hello, you there, and everyone else" }] };
const phases: Record<string, Phase> = {
  "before the headers": { step: { respond: answer, gate: "never" }, open: true, usage: false },
  "before the first token": {
    step: { respond: answer, gateAfter: { events: 2, gate: "never" } },
    open: true,
    usage: true,
  },
  "in the middle of the answer": {
    step: { respond: answer, gateAfter: { events: 6, gate: "never" } },
    open: true,
    usage: true,
  },
  "while waiting to try again": {
    step: {
      respond: { status: 529, headers: { "retry-after": "15" }, error: { type: "overloaded_error", message: "" } },
    },
    open: false,
    usage: false,
  },
};

/** How a caller goes away. Each returns what makes it go, and resolves when it has noticed. */
const callers: Record<string, (service: Service, signal: AbortSignal) => Promise<unknown>> = {
  ...Object.fromEntries(
    Object.keys(transports("http://localhost")).flatMap((name) => [
      [
        `StreamChat, ${name}`,
        async (service: Service, signal: AbortSignal) => {
          const client = createClient(ChatService, transports(service.url)[name] as never);
          for await (const _ of client.streamChat({ chat: request }, { signal }));
        },
      ],
      [
        `Chat, ${name}`,
        async (service: Service, signal: AbortSignal) => {
          const client = createClient(ChatService, transports(service.url)[name] as never);
          await client.chat(request, { signal });
        },
      ],
    ]),
  ),
  "Server-Sent Events": async (service, signal) => {
    const response = await fetch(`${service.url}/parley.v1.ChatService/StreamChat`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({ chat: { messages: [{ role: "ROLE_USER", text: "hello" }] } }),
      signal,
    });
    await response.text();
  },
};

let service: Service;
before(async () => {
  service = await startService();
});
after(() => service[Symbol.asyncDispose]());

/** Resolves when a call has come into the phase: Claude has been asked, and has sent what it sends in it. */
async function reached(phase: Phase) {
  const upstream = await service.simulator.nextRequest();
  if (!phase.open) await upstream.ended;
  return upstream;
}

describe("a caller that goes away stops the request to Claude", () => {
  for (const [phaseName, phase] of Object.entries(phases)) {
    for (const [callerName, call] of Object.entries(callers)) {
      test(`${phaseName}: ${callerName}`, async () => {
        service.simulator.run({ steps: [phase.step] });
        const controller = new AbortController();
        const gone = call(service, controller.signal).catch(() => "gone");
        const upstream = await reached(phase);
        controller.abort();
        assert.equal(await gone, "gone");
        const line = await service.nextCall();
        assert.equal(line.code, "CANCELLED");
        assert.equal(line.reason, "CANCELLED");
        assert.equal(line.attempts, 1);
        if (phase.open) assert.equal((await upstream.ended).how, "client-closed");
      });
    }
  }
});

/** Calls with a deadline that is told to the server alone, so that its own word of it can be heard. */
function timedCall(target: Service, rpc: string, timeoutMs: number) {
  const timed = { headers: { "connect-timeout-ms": String(timeoutMs) } };
  const client = createClient(ChatService, transports(target.url)["Connect over HTTP/2"] as never);
  return failureOf(rpc === "Chat" ? client.chat(request, timed) : client.streamChat({ chat: request }, timed));
}

describe("a deadline that passes stops the request to Claude", () => {
  for (const [phaseName, phase] of Object.entries(phases).filter(([, { open }]) => open)) {
    for (const rpc of ["Chat", "StreamChat"]) {
      test(`${phaseName}: ${rpc}`, async () => {
        service.simulator.run({ steps: [phase.step] });
        const told = await timedCall(service, rpc, 1_000);
        assert.equal(told.code, "DeadlineExceeded");
        assert.equal(told.errorInfo?.reason, "DEADLINE_EXCEEDED");
        assert.equal((told.partialOutput?.usage?.inputTokens ?? 0) > 0, phase.usage);
        const upstream = await service.simulator.nextRequest();
        assert.equal((await upstream.ended).how, "client-closed");
        const line = await service.nextCall();
        assert.equal(line.code, "DEADLINE_EXCEEDED");
        assert.equal(line.usage !== undefined, phase.usage);
      });
    }
  }

  test("a wait that would outlast the deadline is not begun: the caller is told at once how long to wait", async () => {
    service.simulator.run({ steps: [phases["while waiting to try again"]?.step as Step] });
    const told = await timedCall(service, "Chat", 10_000);
    assert.equal(told.code, "Unavailable");
    assert.equal(told.retryInfo?.retryDelay?.seconds, 15n);
    await service.nextCall();
  });

  test("a call without a deadline gets that of the service", async () => {
    await using short = await startService({ config: { defaultTimeout: 200 }, script: { steps: [{ gate: "never" }] } });
    assert.equal((await failureOf(short.chat.chat(request))).code, "DeadlineExceeded");
  });

  test("a deadline beyond the cap is cut to it", async () => {
    await using short = await startService({
      config: { limits: { timeout: 200 } },
      script: { steps: [{ gate: "never" }] },
    });
    assert.equal((await timedCall(short, "Chat", 3_600_000_000)).code, "DeadlineExceeded");
  });
});

describe("while the connection to Claude is being made", () => {
  /** Accepts connections, and says nothing: a TLS handshake with it never ends. */
  async function silentServer() {
    const sockets: Socket[] = [];
    const connected = Promise.withResolvers<void>();
    const server = createServer((socket) => {
      sockets.push(socket.on("error", () => {}));
      connected.resolve();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    return {
      url: `https://127.0.0.1:${port}`,
      connected: connected.promise,
      [Symbol.dispose]() {
        for (const socket of sockets) socket.destroy();
        server.close();
      },
    };
  }

  test("a caller can go away", async () => {
    using silent = await silentServer();
    await using slow = await startService({ config: { baseUrl: silent.url } });
    const controller = new AbortController();
    const gone = failureOf(slow.chat.chat(request, { signal: controller.signal }));
    await silent.connected;
    controller.abort();
    assert.equal((await gone).code, "Canceled");
    assert.equal((await slow.nextCall()).code, "CANCELLED");
  });

  test("a deadline can pass", async () => {
    using silent = await silentServer();
    await using slow = await startService({ config: { baseUrl: silent.url } });
    const told = await timedCall(slow, "Chat", 100);
    assert.equal(told.errorInfo?.reason, "DEADLINE_EXCEEDED");
  });

  test("it may not take for ever", async () => {
    using silent = await silentServer();
    const claude = { connectTimeout: 100, retry: { maxAttempts: 1 } };
    await using slow = await startService({ config: { baseUrl: silent.url, claude } });
    const told = await failureOf(slow.chat.chat(request));
    assert.equal(told.errorInfo?.reason, "UPSTREAM_UNREACHABLE");
  });
});
