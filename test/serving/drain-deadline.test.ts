import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { before, describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { ChatService, StreamChatRequestSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Script, type Simulator } from "../../src/simulator/simulator.ts";
import { failureOf, type Told } from "../support/details.ts";
import { type ServiceProcess, startServiceProcess } from "../support/process.ts";
import { transports } from "../support/service.ts";
import { envelope, openHttp2 } from "../support/wire.ts";

const hello = { messages: [{ role: Role.USER, text: "hello" }] };
const streamed = JSON.stringify({ chat: { messages: [{ role: "ROLE_USER", text: "hello" }] } });
const PATH = "/parley.v1.ChatService/StreamChat";

/** Claude stops in the middle of each answer. */
const stopping: Script = {
  steps: [
    {
      respond: { content: [{ text: "Hello, you there, and everyone else" }] },
      gateAfter: { events: 5, gate: "never" },
      times: 100,
    },
  ],
};

interface Running extends AsyncDisposable {
  readonly simulator: Simulator;
  readonly service: ServiceProcess;
}

async function start(script: Script = { steps: [] }): Promise<Running> {
  await using starting = new AsyncDisposableStack();
  const simulator = starting.use(await createSimulator({ pacing: "instant", script }));
  const env = { ANTHROPIC_BASE_URL: simulator.url };
  const service = starting.use(await startServiceProcess(env, { server: { lameDuck: "0s", drain: "1s" } }));
  const running = starting.move();
  return { simulator, service, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** What one call is told in the end. `sequence`: of the last message before it. */
interface Ended {
  readonly told: Told;
  readonly sequence: number;
}

/** Begins a stream, and resolves when its first messages are there. */
async function beginStream({ url }: ServiceProcess, transport: string): Promise<{ end: Promise<Ended> }> {
  const client = createClient(ChatService, transports(url)[transport] as never);
  const begun = Promise.withResolvers<void>();
  let sequence = 0;
  const read = async () => {
    for await (const message of client.streamChat({ chat: hello })) {
      sequence = message.sequence;
      begun.resolve();
    }
  };
  const end = failureOf(read()).then((told) => ({ told, sequence }));
  await Promise.race([begun.promise, end]);
  return { end };
}

describe("calls that have not ended by the drain deadline are told so", { timeout: 120_000 }, () => {
  const names = Object.keys(transports("http://localhost"));
  const calls = new Map<string, Ended>();
  let sse: string;
  let exit: unknown;
  before(async () => {
    await using running = await start(stopping);
    const { simulator, service } = running;
    const ends: [string, Promise<Ended>][] = [];
    for (const name of names) {
      const client = createClient(ChatService, transports(service.url)[name] as never);
      ends.push([`Chat by ${name}`, failureOf(client.chat(hello)).then((told) => ({ told, sequence: 0 }))]);
      await simulator.nextRequest();
    }
    // What Claude said to Chat is there when what it said to a stream after that is.
    for (const name of names) ends.push([`StreamChat by ${name}`, (await beginStream(service, name)).end]);
    const response = await fetch(`${service.url}${PATH}`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: streamed,
    });
    service.child.kill("SIGTERM");
    for (const [name, end] of ends) calls.set(name, await end);
    sse = await response.text();
    exit = await service.exit;
  });

  for (const rpc of ["Chat", "StreamChat"]) {
    for (const name of names) {
      test(`${rpc} by ${name}`, () => {
        const { told, sequence } = calls.get(`${rpc} by ${name}`) as Ended;
        assert.equal(told.code, "Unavailable");
        assert.equal(told.errorInfo?.domain, "parley");
        assert.equal(told.errorInfo?.reason, "SHUTTING_DOWN");
        assert.equal(told.errorInfo?.metadata.retryable, "true");
        assert.equal(told.retryInfo?.retryDelay?.seconds, 1n);
        assert.match(told.requestInfo?.requestId ?? "", /^[0-9a-f-]{36}$/);
        assert.ok((told.partialOutput?.usage?.inputTokens ?? 0) > 0);
        assert.equal(told.partialOutput?.lastSequence, sequence);
        assert.equal(sequence > 0, rpc === "StreamChat");
      });
    }
  }

  test("StreamChat by Server-Sent Events", () => {
    const events = sse.trimEnd().split("\n\n");
    const [, json = ""] = /^event: error\ndata: (.*)$/.exec(events.at(-1) ?? "") ?? [];
    const { code, details } = JSON.parse(json) as { code: string; details: { type: string; debug: object }[] };
    const detail = (type: string) => details.find((one) => one.type === type)?.debug as Record<string, unknown>;
    assert.equal(code, "unavailable");
    assert.equal(detail("google.rpc.ErrorInfo").reason, "SHUTTING_DOWN");
    assert.equal(detail("google.rpc.ErrorInfo").domain, "parley");
    assert.ok("google.rpc.RetryInfo" in Object.fromEntries(details.map(({ type }) => [type, true])));
    assert.equal(detail("parley.v1.PartialOutput").lastSequence, events.length - 1);
  });

  test("and the service exits with 0", () => {
    assert.equal(exit, 0);
  });
});

test("a call that Claude has not answered yet is told so without a part of an answer", {
  timeout: 120_000,
}, async () => {
  await using running = await start({ steps: [{ respond: { content: [{ text: "Hello" }] }, gate: "never" }] });
  const { simulator, service } = running;
  const client = createClient(ChatService, transports(service.url)["gRPC over HTTP/2"] as never);
  const ended = failureOf(client.streamChat({ chat: hello }));
  const upstream = await simulator.nextRequest();
  service.child.kill("SIGTERM");
  const told = await ended;
  assert.equal(told.errorInfo?.reason, "SHUTTING_DOWN");
  assert.equal(told.partialOutput, undefined);
  assert.equal((await upstream.ended).how, "client-closed");
  assert.equal(await service.exit, 0);
});

describe("a caller cannot hold up the exit by", { concurrency: true, timeout: 120_000 }, () => {
  /** Far more than the buffers of both sides take. */
  const long: Script = { steps: [{ respond: { content: [{ text: "x".repeat(20_000_000) }] } }] };

  test("not reading over HTTP/2", async (t) => {
    await using running = await start(long);
    const { service } = running;
    const session = openHttp2(service.url);
    const headers = { ":method": "POST", ":path": PATH, "content-type": "application/grpc", te: "trailers" };
    const stream = session.request(headers).on("error", () => {});
    const request = create(StreamChatRequestSchema, { chat: hello });
    stream.end(envelope(toBinary(StreamChatRequestSchema, request)));
    await once(stream, "response");
    service.child.kill("SIGTERM");
    assert.equal(await service.exit, 0);
    session.destroy();
    const [begun, ended] = [/^shutting down/, /^shut down/].map((message) =>
      Date.parse(String(service.logs.find(({ msg }) => message.test(String(msg)))?.time)),
    );
    t.diagnostic(`with a drain of 1000 ms, the shutdown took ${Number(ended) - Number(begun)} ms`);
    assert.deepEqual(
      service.logs.slice(-2).map(({ msg, reason }) => [msg, reason]),
      [
        ["call", "SHUTTING_DOWN"],
        ["shut down", undefined],
      ],
    );
  });

  test("not reading over HTTP/1.1", async () => {
    await using running = await start(long);
    const { service } = running;
    const socket = connect(service.port, "127.0.0.1").on("error", () => {});
    const head = `POST ${PATH} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\ncontent-length: ${streamed.length}`;
    socket.write(`${head}\r\ncontent-type: application/json\r\n\r\n${streamed}`);
    await once(socket, "readable");
    service.child.kill("SIGTERM");
    assert.equal(await service.exit, 0);
    socket.destroy();
    assert.deepEqual(
      service.logs.slice(-2).map(({ msg, reason }) => [msg, reason]),
      [
        ["call", "SHUTTING_DOWN"],
        ["shut down", undefined],
      ],
    );
  });

  const halves: Record<string, string> = {
    "sending half of a header": "POST /parley.v1.ChatService/Chat HTTP/1.1\r\nhost: loc",
    "sending half of a body":
      "POST /parley.v1.ChatService/Chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    "sending a letter that may begin HTTP/1.1 or HTTP/2": "P",
  };
  for (const [name, text] of Object.entries(halves)) {
    test(name, async () => {
      await using running = await start();
      const { service } = running;
      const socket = connect(service.port, "127.0.0.1").on("error", () => {});
      await new Promise((resolve) => socket.write(text, resolve));
      // What came later has been read, and so has this.
      assert.equal((await fetch(`${service.url}/made.up`)).status, 404);
      service.child.kill("SIGTERM");
      assert.equal(await service.exit, 0);
      socket.destroy();
    });
  }

  test("sending half of a call over HTTP/2", async () => {
    await using running = await start();
    const { service } = running;
    const session = openHttp2(service.url);
    await once(session, "remoteSettings");
    const headers = { ":method": "POST", ":path": PATH, "content-type": "application/grpc", te: "trailers" };
    const stream = session.request(headers).on("error", () => {});
    await new Promise((resolve) => stream.write(envelope("", { length: 10 }), resolve));
    // What was written before the PING has been read when it is answered.
    await new Promise((resolve) => session.ping(resolve));
    const trailers = once(stream, "trailers");
    service.child.kill("SIGTERM");
    const [{ "grpc-status": status }] = await trailers;
    assert.equal(status, "14");
    stream.destroy();
    assert.equal(await service.exit, 0);
  });
});
