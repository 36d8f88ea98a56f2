import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import {
  ChatRequestSchema,
  ChatResponseSchema,
  StreamChatRequestSchema,
  type StreamChatResponse,
  StreamChatResponseSchema,
} from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Script } from "../../src/simulator/simulator.ts";
import { toldByStatus } from "../support/details.ts";
import { startServiceProcess } from "../support/process.ts";

const STREAMS_OF_A_KIND = 25;
const CALLERS = 5;
const CALLS_BEFORE_SIGTERM = 10;
const CALLS_A_CONNECTION = 5;

const content = [{ text: "Hello, you there, and everyone else" }];
const gated = { respond: { content }, times: STREAMS_OF_A_KIND };
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
  const { errorInfo } = toldByStatus(details as Buffer);
  assert.equal(errorInfo?.reason, "SHUTTING_DOWN");
  return "SHUTTING_DOWN";
}

const connectTo = (port: number) =>
  new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });

function metadataOf(id: string): Metadata {
  const metadata = new Metadata();
  metadata.set("x-request-id", id);
  return metadata;
}

function chat(client: Client, id: string): Promise<End> {
  const input = create(ChatRequestSchema, { messages: [{ role: Role.USER, text: "short" }] });
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      "/parley.v1.ChatService/Chat",
      (message: typeof input) => Buffer.from(toBinary(ChatRequestSchema, message)),
      (bytes) => fromBinary(ChatResponseSchema, bytes),
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

/** Begins a stream. */
function streamChat(client: Client, id: string, text: string): { begun: Promise<void>; end: Promise<End> } {
  const input = create(StreamChatRequestSchema, { chat: { messages: [{ role: Role.USER, text }] } });
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<End>();
  const call = client.makeServerStreamRequest(
    "/parley.v1.ChatService/StreamChat",
    (message: typeof input) => Buffer.from(toBinary(StreamChatRequestSchema, message)),
    (bytes) => fromBinary(StreamChatResponseSchema, bytes),
    input,
    metadataOf(id),
  );
  let last: string | undefined;
  call.on("data", ({ event }: StreamChatResponse) => {
    last = event.case;
    begun.resolve();
  });
  call.on("error", (error: ServiceError) => {
    try {
      end.resolve(endOf(error));
    } catch (unexpected) {
      end.reject(unexpected);
    }
  });
  call.on("end", () => {
    if (last === "messageStop") end.resolve("complete");
  });
  return { begun: begun.promise, end: end.promise };
}

test("no call that was begun is cut off without a word when the service shuts down under load", {
  timeout: 120_000,
}, async () => {
  await using simulator = await createSimulator({ pacing: "instant", script });
  await using service = await startServiceProcess(
    { ANTHROPIC_BASE_URL: simulator.url },
    { server: { lameDuck: "200ms", drain: "3s" } },
  );
  const ends = new Map<string, End>();
  const clients = Array.from({ length: CALLERS }, () => connectTo(service.port));
  const streams = ["ends in time", "does not end"].flatMap((text) =>
    Array.from({ length: STREAMS_OF_A_KIND }, (_, index) => {
      const id = `${text} ${index}`.replaceAll(" ", "-");
      return { id, ...streamChat(clients[index % CALLERS] as Client, id, text) };
    }),
  );
  await Promise.all(streams.map(({ begun }) => begun));

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
    if (id.startsWith("does-not-end")) assert.equal(ends.get(id), "SHUTTING_DOWN");
    else assert.notEqual(ends.get(id), "never arrived");
  }
  const logged = new Map(service.logs.flatMap(({ call, code }) => (call === undefined ? [] : [[call, code]])));
  const expected: Record<End, unknown> = { complete: "OK", SHUTTING_DOWN: "UNAVAILABLE", "never arrived": undefined };
  for (const [id, end] of ends) assert.equal(logged.get(id), expected[end], `${id}: ${end}`);
});
