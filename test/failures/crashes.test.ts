import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { ChatService, type StreamChatResponse } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Script } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { type RunningProcess, startProcess, startServiceProcess } from "../support/process.ts";
import { transports } from "../support/service.ts";

const hello = { messages: [{ role: Role.USER, text: "hello" }] };
const STREAMS = 20;

/** Claude stops in the middle of each answer. */
const stopping: Script = {
  steps: [
    {
      respond: { content: [{ text: "Hello, you there, and everyone else" }], usage: { input_tokens: 11 } },
      gateAfter: { events: 5, gate: "never" },
      times: STREAMS,
    },
  ],
};

const chatClient = (url: string, transport = "gRPC over HTTP/2") =>
  createClient(ChatService, transports(url)[transport] as never);

/** Begins streams, and resolves when all have had their first messages. */
async function beginStreams(url: string): Promise<AsyncIterator<StreamChatResponse>[]> {
  const client = chatClient(url);
  const streams = Array.from({ length: STREAMS }, () => client.streamChat({ chat: hello })[Symbol.asyncIterator]());
  await Promise.all(streams.map((stream) => stream.next()));
  return streams;
}

async function readOn(stream: AsyncIterator<StreamChatResponse>): Promise<void> {
  while (!(await stream.next()).done);
}

describe("the service that is killed", { timeout: 120_000 }, () => {
  test("stops the spending at once", async () => {
    await using simulator = await createSimulator({ pacing: "instant", script: stopping });
    await using service = await startServiceProcess({ ANTHROPIC_BASE_URL: simulator.url });
    const streams = await beginStreams(service.url);
    service.child.kill("SIGKILL");
    for (const { ended } of simulator.requests) assert.equal((await ended).how, "client-closed");
    assert.equal(simulator.requests.length, STREAMS);
    for (const stream of streams) await assert.rejects(readOn(stream));
    assert.equal(await service.exit, "SIGKILL");
  });
});

/** The simulator as a process of its own. */
async function startSimulatorProcess(script: Script, port = "0"): Promise<RunningProcess & { readonly url: string }> {
  const folder = mkdtempSync(join(tmpdir(), "parley-script-"));
  const path = join(folder, "script.json");
  writeFileSync(path, JSON.stringify(script));
  const running = startProcess("src/simulator/main.ts", { SIMULATOR_PORT: port, SIMULATOR_SCRIPT: path });
  const [line] = await once(running.child.stdout as NodeJS.ReadableStream, "data");
  rmSync(folder, { recursive: true });
  return { ...running, url: /http:\S+/.exec(String(line))?.[0] ?? "" };
}

describe("Claude that is gone from one moment to the next", { timeout: 120_000 }, () => {
  test("is UNAVAILABLE with what the answer had cost, and the service goes on when it is back", async () => {
    await using simulator = await startSimulatorProcess(stopping);
    await using service = await startServiceProcess(
      { ANTHROPIC_BASE_URL: simulator.url },
      { claude: { retry: { baseDelay: "1ms" } } },
    );
    const streams = await beginStreams(service.url);
    const ends = streams.map((stream) => failureOf(readOn(stream)));
    simulator.child.kill("SIGKILL");
    for (const told of await Promise.all(ends)) {
      assert.equal(told.code, "Unavailable");
      assert.equal(told.errorInfo?.domain, "parley");
      assert.equal(told.errorInfo?.reason, "UPSTREAM_STREAM_TRUNCATED");
      assert.ok(told.retryInfo?.retryDelay);
      assert.equal(told.partialOutput?.usage?.inputTokens, 11);
      assert.ok((told.partialOutput?.lastSequence ?? 0) > 0);
    }
    await simulator.exit;

    const told = await failureOf(chatClient(service.url).chat(hello));
    assert.equal(told.errorInfo?.reason, "UPSTREAM_UNREACHABLE");
    assert.equal(told.code, "Unavailable");
    assert.equal((await fetch(`${service.adminUrl}/livez`)).status, 200);
    assert.equal((await fetch(`${service.adminUrl}/readyz`)).status, 200);

    await using _back = await createSimulator({ pacing: "instant", port: Number(new URL(simulator.url).port) });
    assert.equal((await chatClient(service.url).chat(hello)).content.length, 1);
  });
});
