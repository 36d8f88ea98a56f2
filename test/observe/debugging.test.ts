import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { ask, calls, run } from "../support/runs.ts";
import { hang, ScriptedTools } from "../support/scripted-tools.ts";
import { type Service, startService, transports } from "../support/service.ts";

const SECRET = "secret-of-the-prompt";
const messages = [{ role: Role.USER, text: SECRET }];
const answer = { content: [{ text: "secret-of-the-answer" }] };
const silent: Script["steps"][number] = { respond: answer, gate: "never" };
const begun: Script["steps"][number] = { respond: answer, gateAfter: { events: 3, gate: "never" } };

type Listed = Record<string, unknown>;

async function listed(service: Service, what: "calls" | "runs"): Promise<{ total: number; items: Listed[] }> {
  const response = await fetch(`${service.adminUrl}/debug/${what}`);
  assert.equal(response.headers.get("content-type"), "application/json");
  const text = await response.text();
  for (const secret of ["secret-of", "sk-test"]) assert.ok(!text.includes(secret), text);
  const told = JSON.parse(text) as { total: number; calls: Listed[]; runs: Listed[] };
  return { total: told.total, items: told[what] };
}

/** Waits for a list that fits. */
async function listedOnce(service: Service, what: "calls" | "runs", fits: (items: Listed[]) => boolean) {
  for (;;) {
    const { items } = await listed(service, what);
    if (fits(items)) return items;
  }
}

/** Makes a call, which is given up in the end. */
function callInProgress(service: Service, make: (signal: AbortSignal) => Promise<unknown>): AsyncDisposable {
  const controller = new AbortController();
  const made = make(controller.signal).catch(() => {});
  return {
    async [Symbol.asyncDispose]() {
      controller.abort();
      await made;
      await service.nextCall();
    },
  };
}

async function drain(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

describe("/debug/calls", { timeout: 60_000 }, () => {
  test("tells of calls in progress who they are and how far they have come, and nothing of what they say", async () => {
    await using service = await startService({ script: { steps: [silent, begun] } });
    const trace_id = "0af7651916cd43dd8448eb211c80319c";
    await using _waiting = callInProgress(service, (signal) => {
      const headers = { "x-request-id": "call-1", traceparent: `00-${trace_id}-b7ad6b7169203331-01` };
      return service.chat.chat({ messages, labels: { team: "search" } }, { signal, timeoutMs: 30_000, headers });
    });
    await service.simulator.nextRequest();
    const connect = createClient(ChatService, transports(service.url)["Connect over HTTP/1.1"] as never);
    await using _streaming = callInProgress(service, (signal) =>
      drain(connect.streamChat({ chat: { messages } }, { signal, headers: { "x-request-id": "call-2" } })),
    );
    const items = await listedOnce(service, "calls", ([, second]) => second?.phase === "streaming");
    const [first, second] = items.map(({ age_ms, deadline_in_ms, ...rest }) => {
      assert.ok(Number.isInteger(age_ms) && Number(age_ms) >= 0 && Number(age_ms) < 30_000);
      return { ...rest, deadlineIsNear: Number(deadline_in_ms) <= 30_000 };
    });
    assert.deepEqual(first, {
      call: "call-1",
      trace_id,
      method: "parley.v1.ChatService/Chat",
      protocol: "grpc",
      caller: "anonymous",
      peer: "127.0.0.1",
      phase: "waiting_for_claude",
      attempts: 1,
      labels: { team: "search" },
      deadlineIsNear: true,
    });
    const { last_sequence, trace_id: _, ...rest } = second as Listed;
    assert.ok(Number(last_sequence) >= 1);
    assert.deepEqual(rest, {
      call: "call-2",
      method: "parley.v1.ChatService/StreamChat",
      protocol: "connect",
      caller: "anonymous",
      peer: "127.0.0.1",
      phase: "streaming",
      attempts: 1,
      // That of the service.
      deadlineIsNear: false,
    });
  });

  test("tells of calls whose request has not arrived", async () => {
    await using service = await startService();
    const { promise: rest, resolve: send } = Promise.withResolvers<void>();
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(Buffer.from('{"messages":'));
        await rest;
        controller.enqueue(Buffer.from("[]}"));
        controller.close();
      },
    });
    const headers = { "content-type": "application/json" };
    const path = "/parley.v1.ChatService/Chat";
    const posted = fetch(service.url + path, { method: "POST", body, headers, duplex: "half" } as RequestInit);
    const [call] = await listedOnce(service, "calls", ({ length }) => length === 1);
    assert.equal(call?.phase, "request_arriving");
    assert.equal(call?.deadline_in_ms, undefined);
    send();
    assert.equal((await posted).status, 400);
  });

  test("does not tell of calls that have ended, however they did", async () => {
    await using service = await startService({ script: { steps: [{ respond: answer }, silent] } });
    await service.chat.chat({ messages });
    await service.chat.chat({}).catch(() => {});
    await fetch(`${service.url}/made.up.Service/Method`, { method: "POST" });
    {
      await using _cancelled = callInProgress(service, (signal) => service.chat.chat({ messages }, { signal }));
      for (let requests = 0; requests < 2; requests++) await service.simulator.nextRequest();
      for (let ended = 0; ended < 3; ended++) await service.nextCall();
      assert.equal((await listed(service, "calls")).total, 1);
    }
    assert.deepEqual(await listed(service, "calls"), { total: 0, items: [] });
  });

  test("lists a thousand calls at the most, and says how many there are", async () => {
    await using service = await startService({
      config: { limits: { concurrentStreams: 2_000 } },
      script: { steps: [{ ...silent, times: 1_010 }] },
    });
    const controller = new AbortController();
    const made = Array.from({ length: 1_010 }, () => service.chat.chat({ messages }, { signal: controller.signal }));
    for (let requests = 0; requests < made.length; requests++) await service.simulator.nextRequest();
    const { total, items } = await listed(service, "calls");
    assert.deepEqual([total, items.length], [1_010, 1_000]);
    controller.abort();
    await Promise.allSettled(made);
  });
});

describe("/debug/runs", { timeout: 60_000 }, () => {
  const own = { kind: { case: "custom" as const, value: { name: "ask_user", inputSchemaJson: '{"type":"object"}' } } };
  const request = { chat: { messages, labels: { team: "search" }, tools: [own] } };

  test("tells of a run that waits for somebody which tools it waits for, but not with what arguments", async () => {
    await using service = await startService({ script: { steps: [calls(["ask_user", { question: SECRET }])] } });
    const seen = await run(service, request);
    assert.equal(seen.kinds.at(-1), "actionRequired");
    const { total, items } = await listed(service, "runs");
    assert.equal(total, 1);
    const { age_ms, usage, ...rest } = items[0] as Listed;
    assert.ok(Number(age_ms) >= 0 && Number(age_ms) < 60_000);
    assert.ok((usage as { output: number }).output > 0);
    assert.deepEqual(rest, {
      run: seen.id,
      caller: "anonymous",
      state: "REQUIRES_ACTION",
      turns: 1,
      tool_calls: 0,
      last_sequence: seen.events.length,
      pending_tools: ["ask_user"],
      labels: { team: "search" },
    });
  });

  test("tells of a run at work, whose call names it; when it has ended, neither is there", async () => {
    const tools = new ScriptedTools({ look: hang });
    const script = { steps: [calls(["look", { n: 1 }])] };
    await using service = await startService({ script, overrides: { tools } });
    {
      await using _running = callInProgress(service, (signal) =>
        run(service, ask(tools, { chat: { messages } }), { signal }),
      );
      await tools.begun(1);
      const [active] = (await listed(service, "runs")).items;
      assert.deepEqual([active?.state, active?.turns, active?.tool_calls], ["RUNNING", 1, 1]);
      const [call] = (await listed(service, "calls")).items;
      assert.deepEqual([call?.run, call?.phase], [active?.run, "in_run"]);
    }
    await service.line(({ msg }) => msg === "run");
    assert.deepEqual(await listed(service, "runs"), { total: 0, items: [] });
  });
});

describe("the admin port", () => {
  test("says what there is", async () => {
    await using service = await startService();
    const response = await fetch(`${service.adminUrl}/debug`);
    assert.equal(response.status, 404);
    assert.equal(
      await response.text(),
      "there are /livez, /readyz, /metrics, /debug/calls, /debug/runs, /debug/config, /debug/cpu-profile, " +
        "/debug/heap-snapshot\n",
    );
  });

  test("answers HEAD without a body, and no other methods", async () => {
    await using service = await startService();
    const head = await fetch(`${service.adminUrl}/debug/calls`, { method: "HEAD" });
    assert.deepEqual([head.status, await head.text()], [200, ""]);
    assert.equal((await fetch(`${service.adminUrl}/debug/calls`, { method: "POST" })).status, 405);
  });

  test("tells nothing for debugging when that is off, and says how to turn it on", async () => {
    await using service = await startService({ config: { admin: { debug: false } } });
    for (const what of ["calls", "runs", "config"]) {
      const response = await fetch(`${service.adminUrl}/debug/${what}`);
      assert.equal(response.status, 403);
      assert.match(await response.text(), /admin\.debug .*PARLEY_CONFIG/);
    }
    assert.equal((await fetch(`${service.adminUrl}/livez`)).status, 200);
  });
});
