import assert from "node:assert/strict";
import { test } from "node:test";
import {
  create,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Script } from "../../src/simulator/simulator.ts";
import { toldByStatus } from "../support/details.ts";
import { startServiceProcess } from "../support/process.ts";

/** Each half of these ends within the drain, and half does not. */
const STREAMS = 200;
const RUNS = 20;
const CALLERS = 5;
const CALLS_BEFORE_SIGTERM = 10;
const CALLS_A_CONNECTION = 5;

const content = [{ text: "Hello, you there, and everyone else" }];
const gated = { respond: { content }, times: STREAMS + RUNS };
const script: Script = {
  anyOrder: true,
  steps: [
    { expect: { contains: "short" }, respond: { content }, times: 1_000_000 },
    { expect: { contains: "ends in time" }, gateAfter: { events: 5, gate: "shutdown" }, ...gated },
    { expect: { contains: "does not end" }, gateAfter: { events: 5, gate: "never" }, ...gated },
  ],
};

/** How a call ended: well, with what the service said, or without a word of the service's. */
type End = "complete" | "SHUTTING_DOWN" | "never arrived";

function endOf(error: ServiceError): End {
  const details = error.metadata.get("grpc-status-details-bin")[0];
  assert.equal(error.code, status.UNAVAILABLE, error.message);
  if (details === undefined) return "never arrived";
  const { errorInfo, retryInfo } = toldByStatus(details as Buffer);
  assert.equal(errorInfo?.reason, "SHUTTING_DOWN");
  assert.ok(retryInfo !== undefined);
  return "SHUTTING_DOWN";
}

const connectTo = (port: number) =>
  new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });

function metadataOf(id: string): Metadata {
  const metadata = new Metadata();
  metadata.set("x-request-id", id);
  return metadata;
}

const asking = (text: string) => ({ messages: [{ role: Role.USER, text }] });

function callUnary<I extends DescMessage>(
  client: Client,
  method: DescMethodUnary<I>,
  id: string,
  request: MessageInitShape<I>,
) {
  const input = create(method.input, request);
  return new Promise<End>((resolve, reject) => {
    client.makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: typeof input) => Buffer.from(toBinary(method.input, message)),
      (bytes) => fromBinary(method.output, bytes),
      input,
      metadataOf(id),
      (error) => {
        try {
          resolve(error === null ? "complete" : endOf(error));
        } catch (unexpected) {
          reject(unexpected);
        }
      },
    );
  });
}

interface Begun {
  readonly id: string;
  /** Resolves when Claude has begun to answer. */
  readonly begun: Promise<void>;
  readonly end: Promise<End>;
}

/** Begins a stream. It is complete when its last message is of a kind. */
function callStreaming<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: DescMethodServerStreaming<I, O>,
  id: string,
  request: MessageInitShape<I>,
  first: string,
  last: string,
  kindOf: (message: MessageShape<O>) => string | undefined,
): Begun {
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<End>();
  const call = client.makeServerStreamRequest(
    `/${method.parent.typeName}/${method.name}`,
    (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
    (bytes) => fromBinary(method.output, bytes),
    create(method.input, request),
    metadataOf(id),
  );
  let latest: string | undefined;
  call.on("data", (message: MessageShape<O>) => {
    latest = kindOf(message);
    if (latest === first) begun.resolve();
  });
  call.on("error", (error: ServiceError) => {
    try {
      end.resolve(endOf(error));
    } catch (unexpected) {
      end.reject(unexpected);
    }
  });
  call.on("end", () => {
    if (latest === last) end.resolve("complete");
  });
  return { id, begun: begun.promise, end: end.promise };
}

const chat = (client: Client, id: string) => callUnary(client, ChatService.method.chat, id, asking("short"));

const streamChat = (client: Client, id: string, text: string) =>
  callStreaming(
    client,
    ChatService.method.streamChat,
    id,
    { chat: asking(text) },
    "messageStart",
    "messageStop",
    ({ event }) => event.case,
  );

const runAgent = (client: Client, id: string, text: string) =>
  callStreaming(
    client,
    AgentService.method.runAgent,
    id,
    { chat: asking(text) },
    "messageEvent",
    "runFinished",
    ({ event }) => event?.event.case,
  );

/** A run that nobody is attached to. */
const createRun = (client: Client, id: string, text: string) =>
  callUnary(client, AgentService.method.createRun, id, { run: { chat: asking(text) } });

test("no call that was begun is cut off without a word when the service shuts down under load", {
  timeout: 120_000,
}, async (t) => {
  await using simulator = await createSimulator({ pacing: "instant", script });
  await using service = await startServiceProcess(
    { ANTHROPIC_BASE_URL: simulator.url },
    { server: { lameDuck: "2s", drain: "8s" } },
  );
  const ends = new Map<string, End>();
  const clients = Array.from({ length: CALLERS }, () => connectTo(service.port));
  const clientOf = (index: number) => clients[index % CALLERS] as Client;
  const fates = ["ends in time", "does not end"];
  const streams = fates.flatMap((fate) => [
    ...Array.from({ length: STREAMS / 2 }, (_, index) =>
      streamChat(clientOf(index), `${fate} ${index}`.replaceAll(" ", "-"), fate),
    ),
    ...Array.from({ length: RUNS / 4 }, (_, index) =>
      runAgent(clientOf(index), `${fate} run ${index}`.replaceAll(" ", "-"), fate),
    ),
  ]);
  const detached = fates.flatMap((fate) =>
    Array.from({ length: RUNS / 4 }, (_, index) => `${fate} alone ${index}`.replaceAll(" ", "-")),
  );
  for (const id of detached) {
    const fate = id.startsWith("ends") ? "ends in time" : "does not end";
    ends.set(id, await createRun(clientOf(0), id, fate));
  }
  await Promise.all(streams.map(({ begun }) => begun));
  for (let requests = 0; requests < STREAMS + RUNS; requests++) await simulator.nextRequest();

  /** Calls again and again, by one connection after the other, until no connection can be made any more. */
  const warm = Array.from({ length: CALLERS }, () => Promise.withResolvers<void>());
  async function callOn(caller: number): Promise<void> {
    for (let calls = 0; ; ) {
      const client = connectTo(service.port);
      for (let of = 0; of < CALLS_A_CONNECTION; of++, calls++) {
        const id = `short-${caller}-${calls}`;
        const end = await chat(client, id);
        ends.set(id, end);
        if (calls >= CALLS_BEFORE_SIGTERM) warm[caller]?.resolve();
        if (end === "never arrived") return client.close();
      }
      client.close();
    }
  }
  const callers = Array.from({ length: CALLERS }, (_, caller) => callOn(caller));
  await Promise.race([Promise.all(warm.map(({ promise }) => promise)), Promise.all(callers)]);
  assert.deepEqual(new Set(ends.values()), new Set<End>(["complete"]));

  service.child.kill("SIGTERM");
  await service.line(({ msg }) => String(msg).startsWith("shutting down"));
  simulator.open("shutdown");
  for (const { id, end } of streams) ends.set(id, await end);
  await Promise.all(callers);
  assert.equal(await service.exit, 0);
  for (const client of clients) client.close();

  for (const { id } of streams) {
    assert.equal(ends.get(id), id.startsWith("does-not-end") ? "SHUTTING_DOWN" : "complete", id);
  }
  // A run has a line of its own, with the call that began it.
  const states = new Map(service.logs.flatMap(({ msg, call, state }) => (msg === "run" ? [[call, state]] : [])));
  assert.equal(states.size, RUNS);
  for (const [id, state] of states) {
    assert.equal(state, String(id).startsWith("ends") ? "SUCCEEDED" : "INTERRUPTED", String(id));
  }
  const logged = new Map(service.logs.flatMap(({ msg, call, code }) => (msg === "call" ? [[call, code]] : [])));
  const expected: Record<End, unknown> = { complete: "OK", SHUTTING_DOWN: "UNAVAILABLE", "never arrived": undefined };
  for (const [id, end] of ends) assert.equal(logged.get(id), expected[end], `${id}: ${end}`);

  // As long as it is a lame duck, it takes calls as ever: more than those that were on their way at the signal.
  const short = [...ends].filter(([id]) => id.startsWith("short"));
  assert.ok(short.every(([, end]) => end !== "SHUTTING_DOWN"));
  const lines = service.logs.slice(service.logs.findIndex(({ msg }) => String(msg).startsWith("shutting down")));
  const late = lines.filter(({ msg, call }) => msg === "call" && String(call).startsWith("short"));
  assert.ok(late.length > CALLERS, `${late.length} calls`);
  const [begun, ended] = [lines[0], lines.at(-1)].map((line) => Date.parse(String(line?.time)));
  const seconds = (Number(ended) - Number(begun)) / 1_000;
  t.diagnostic(`${short.length} calls, ${late.length} of them in the lame duck; the shutdown took ${seconds} s`);
});
