import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { create, type DescMethod, fromBinary, type Message, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { ChatRequestSchema, ChatService, StreamChatRequestSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { ConversationService } from "../../gen/parley/v1/conversation_service_pb.js";
import { ModelService } from "../../gen/parley/v1/model_service_pb.js";
import { ToolService } from "../../gen/parley/v1/tool_service_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { type Service, startService } from "../support/service.ts";

const text = readFileSync(join(import.meta.dirname, "../../proto/service-config.json"), "utf8");
const config = JSON.parse(text) as {
  readonly methodConfig: readonly {
    readonly name: readonly { readonly service: string; readonly method?: string }[];
  }[];
};

type Step = Script["steps"][number];
const chat: MessageInitShape<typeof ChatRequestSchema> = { messages: [{ role: Role.USER, text: "hello" }] };
const request = create(ChatRequestSchema, chat);
const answer: Step["respond"] = { content: [{ text: "Hello, and more" }] };
const overloaded: Step = { respond: { status: 529, error: { type: "overloaded_error", message: "Overloaded" } } };
/** The service itself does not retry, so that what is tried again is tried again by the client. */
const once = { claude: { retry: { maxAttempts: 1 } } };

/** Calls the services as one target with grpc-js and the service config; `error` when the call has failed. */
async function call(
  services: readonly Service[],
  method: DescMethod,
  input: Message,
  times = 1,
): Promise<{ readonly messages: number; readonly error: ServiceError | undefined }[]> {
  const target = `ipv4:${services.map(({ server }) => `127.0.0.1:${server.port}`).join(",")}`;
  const client = new Client(target, credentials.createInsecure(), { "grpc.service_config": text });
  const path = `/${method.parent.typeName}/${method.name}`;
  const serialize = (message: Message) => Buffer.from(toBinary(method.input, message));
  const deserialize = (bytes: Buffer) => fromBinary(method.output, bytes) as Message;
  const results = [];
  try {
    for (let i = 0; i < times; i++) {
      let messages = 0;
      const stream = client.makeServerStreamRequest(path, serialize, deserialize, input, {
        deadline: new Date(Date.now() + 60_000),
      });
      stream.on("data", () => messages++);
      const error = await new Promise<ServiceError | undefined>((resolve) => {
        stream.on("error", resolve).on("end", () => resolve(undefined));
      });
      results.push({ messages, error });
    }
  } finally {
    client.close();
  }
  return results;
}

describe("the service config for clients", () => {
  test("names methods that there are, and none that begins a run or goes on with it", () => {
    const services = new Map(
      [AgentService, ChatService, ConversationService, ModelService, ToolService].map((desc) => [desc.typeName, desc]),
    );
    const retried = config.methodConfig.flatMap(({ name }) =>
      name.flatMap(({ service, method }) => {
        const known = services.get(service)?.methods.map(({ name }) => name) ?? [];
        if (method === undefined) return known.map((name) => `${service}/${name}`);
        assert.ok(known.includes(method), `${service}/${method}`);
        return [`${service}/${method}`];
      }),
    );
    assert.ok(retried.includes("parley.v1.ChatService/StreamChat"));
    for (const unsafe of ["RunAgent", "CreateRun", "SubmitToolResults", "ResumeRun"]) {
      assert.ok(!retried.includes(`${AgentService.typeName}/${unsafe}`), unsafe);
    }
  });

  test("makes a call that is UNAVAILABLE once succeed", async () => {
    await using service = await startService({ config: once, script: { steps: [overloaded, { respond: answer }] } });
    const [result] = await call([service], ChatService.method.chat, request);
    assert.deepEqual(result, { messages: 1, error: undefined });
    service.simulator.verify();
  });

  test("makes a stream that is UNAVAILABLE before its first message succeed", async () => {
    await using service = await startService({ config: once, script: { steps: [overloaded, { respond: answer }] } });
    const [result] = await call([service], ChatService.method.streamChat, create(StreamChatRequestSchema, { chat }));
    assert.equal(result?.error, undefined);
    assert.ok((result?.messages ?? 0) > 2);
    service.simulator.verify();
  });

  test("tries no more than three times", async () => {
    const steps = [{ ...overloaded, times: 3 }, { respond: answer }];
    await using service = await startService({ config: once, script: { steps } });
    const [result] = await call([service], ChatService.method.chat, request);
    assert.equal(result?.error?.code, status.UNAVAILABLE);
    assert.equal(service.simulator.requests.length, 3);
  });

  test("never begins a stream again after its first message", async () => {
    const steps: Step[] = [{ respond: answer, faults: { cutAfter: 4 } }, { respond: answer }];
    await using service = await startService({ config: once, script: { steps } });
    const [result] = await call([service], ChatService.method.streamChat, create(StreamChatRequestSchema, { chat }));
    assert.equal(result?.error?.code, status.UNAVAILABLE);
    assert.ok((result?.messages ?? 0) > 0);
    assert.equal(service.simulator.requests.length, 1);
  });

  test("does not try again what is not UNAVAILABLE", async () => {
    const steps: Step[] = [
      { respond: { status: 500, error: { type: "api_error", message: "Internal" } } },
      { respond: answer },
    ];
    await using service = await startService({ config: once, script: { steps } });
    const [result] = await call([service], ChatService.method.chat, request);
    assert.equal(result?.error?.code, status.INTERNAL);
    assert.equal(service.simulator.requests.length, 1);
  });

  test("gives each replica its part of the calls", async () => {
    await using first = await startService();
    await using second = await startService();
    const results = await call([first, second], ChatService.method.chat, request, 8);
    assert.ok(results.every(({ error }) => error === undefined));
    // The first call may be made while there is but one connection.
    for (const { simulator } of [first, second]) assert.ok(simulator.requests.length >= 3);
  });
});
