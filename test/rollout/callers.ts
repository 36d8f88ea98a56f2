import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import {
  ChatRequestSchema,
  ChatResponseSchema,
  ChatService,
  StreamChatRequestSchema,
  type StreamChatResponse,
  StreamChatResponseSchema,
} from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import serviceConfig from "../../proto/service-config.json" with { type: "json" };
import { createTransport } from "../../src/client/transport.ts";
import type { Fleet } from "./fleet.ts";

/** Calls the service. Both reject when a call fails, or the answer is not whole. */
export interface Caller extends Disposable {
  chat(): Promise<void>;
  streamChat(): Promise<void>;
}

/** A call that has failed on a loaded machine has not failed for its deadline. */
const TIMEOUT_MS = 60_000;

const asking = (text: string) => ({ messages: [{ role: Role.USER, text }] });

/** Parley's own TypeScript client. */
export function parleyCaller({ port, lookup }: Fleet): Caller {
  const transport = createTransport({ baseUrl: `http://parley.test:${port}`, lookup });
  return { ...connectCaller(transport), [Symbol.dispose]: () => transport[Symbol.dispose]() };
}

function connectCaller(transport: Transport): Omit<Caller, keyof Disposable> {
  const client = createClient(ChatService, transport);
  const options = { timeoutMs: TIMEOUT_MS };
  return {
    async chat() {
      assertWhole((await client.chat(asking("short"), options)).content.length === 1);
    },
    async streamChat() {
      const events: StreamChatResponse[] = [];
      for await (const event of client.streamChat({ chat: asking("long") }, options)) events.push(event);
      assertWhole(isWhole(events));
    },
  };
}

/** grpc-js, with the service config that the guide of clients has. */
export function grpcJsCaller({ addresses, port }: Fleet): Caller {
  const client = new Client(
    `ipv4:${addresses.map((address) => `${address}:${port}`).join(",")}`,
    credentials.createInsecure(),
    {
      "grpc.service_config": JSON.stringify(serviceConfig),
      "grpc.use_local_subchannel_pool": 1,
    },
  );
  const options = () => ({ deadline: Date.now() + TIMEOUT_MS });
  return {
    async chat() {
      const { promise, resolve, reject } = Promise.withResolvers<number>();
      client.makeUnaryRequest(
        "/parley.v1.ChatService/Chat",
        (message: Parameters<typeof toBinary<typeof ChatRequestSchema>>[1]) =>
          Buffer.from(toBinary(ChatRequestSchema, message)),
        (bytes) => fromBinary(ChatResponseSchema, bytes),
        create(ChatRequestSchema, asking("short")),
        new Metadata(),
        options(),
        (error, answer) => (error === null ? resolve(answer?.content.length ?? 0) : reject(error)),
      );
      assertWhole((await promise) === 1);
    },
    async streamChat() {
      const call = client.makeServerStreamRequest(
        "/parley.v1.ChatService/StreamChat",
        (message: Parameters<typeof toBinary<typeof StreamChatRequestSchema>>[1]) =>
          Buffer.from(toBinary(StreamChatRequestSchema, message)),
        (bytes) => fromBinary(StreamChatResponseSchema, bytes),
        create(StreamChatRequestSchema, { chat: asking("long") }),
        new Metadata(),
        options(),
      );
      assertWhole(isWhole((await call.toArray()) as StreamChatResponse[]));
    },
    [Symbol.dispose]: () => client.close(),
  };
}

function isWhole(events: readonly StreamChatResponse[]): boolean {
  const isInOrder = events.every(({ sequence }, index) => Number(sequence) === index + 1);
  return isInOrder && events.at(-1)?.event.case === "messageStop";
}

function assertWhole(isWhole: boolean): void {
  if (!isWhole) throw new Error("the answer is not whole");
}
