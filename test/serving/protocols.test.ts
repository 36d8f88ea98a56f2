import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { create, toJson } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import {
  ChatRequestSchema,
  type ChatResponse,
  ChatResponseSchema,
  ChatService,
  StreamChatRequestSchema,
  type StreamChatResponse,
} from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { ModelService } from "../../gen/parley/v1/model_service_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { failureOf, type Told, toldByStatus } from "../support/details.ts";
import { callWithGrpcJs } from "../support/grpc-js.ts";
import { type Service, startService, transports } from "../support/service.ts";

const hello = { messages: [{ role: Role.USER, text: "hello" }] };
const fixed: Script = {
  anyOrder: true,
  steps: [
    {
      times: 100,
      expect: { contains: "hello" },
      respond: { id: "msg_1", content: [{ text: "Hello to you, and to you! äöü 😀" }] },
    },
    {
      times: 100,
      expect: { contains: "limit" },
      respond: {
        status: 429,
        headers: { "retry-after": "9999", "request-id": "req_limit" },
        error: { type: "rate_limit_error", message: "too fast" },
      },
    },
    {
      times: 100,
      expect: { contains: "break" },
      respond: { headers: { "request-id": "req_break" }, content: [{ text: "This will break off" }] },
      faults: { truncateAfter: 4 },
    },
  ],
};

let service: Service;
before(async () => {
  service = await startService({ script: fixed });
});
after(() => service[Symbol.asyncDispose]());

/** What differs between two calls that come to the same. */
function comparable(response: ChatResponse | undefined): unknown {
  assert.ok(response);
  return toJson(ChatResponseSchema, { ...response, createTime: undefined, upstreamRequestId: "" } as ChatResponse);
}

function toldWithoutId({ requestInfo, ...told }: Told): unknown {
  assert.match(requestInfo?.requestId ?? "", /^[0-9a-f-]{36}$/);
  return JSON.parse(JSON.stringify(told, (_, value) => (typeof value === "bigint" ? String(value) : value)));
}

describe("every protocol gives the same", () => {
  const reference = { chat: undefined as unknown, limit: undefined as unknown, break: undefined as unknown };
  before(async () => {
    reference.chat = comparable(await service.chat.chat(hello));
    reference.limit = toldWithoutId(
      await failureOf(service.chat.chat({ messages: [{ role: Role.USER, text: "limit" }] })),
    );
    const broken = service.chat.streamChat({ chat: { messages: [{ role: Role.USER, text: "break" }] } });
    reference.break = toldWithoutId(await failureOf(broken));
  });

  for (const name of Object.keys(transports("http://localhost"))) {
    describe(name, () => {
      let client: ReturnType<typeof createClient<typeof ChatService>>;
      before(() => {
        client = createClient(ChatService, transports(service.url)[name] as never);
      });

      test("answer to Chat", async () => {
        assert.deepEqual(comparable(await client.chat(hello)), reference.chat);
      });

      test("answer and events to StreamChat", async () => {
        const events: StreamChatResponse[] = [];
        for await (const event of client.streamChat({ chat: hello })) events.push(event);
        assert.deepEqual(
          events.map(({ sequence }) => sequence),
          events.map((_, index) => index + 1),
        );
        const last = events.at(-1)?.event;
        assert.ok(last?.case === "messageStop");
        assert.deepEqual(comparable(last.value.finalMessage), reference.chat);
      });

      test("error of a unary call", async () => {
        const told = await failureOf(client.chat({ messages: [{ role: Role.USER, text: "limit" }] }));
        assert.deepEqual(toldWithoutId(told), reference.limit);
      });

      test("error in the middle of a stream, after the events before it", async () => {
        let seen = 0;
        const stream = client.streamChat({ chat: { messages: [{ role: Role.USER, text: "break" }] } });
        const told = await failureOf(
          (async () => {
            for await (const { sequence } of stream) seen = sequence;
          })(),
        );
        assert.deepEqual(toldWithoutId(told), reference.break);
        assert.equal(told.partialOutput?.lastSequence, seen);
      });

      test("identifier of the call in the header, the caller's own if it sends one", async () => {
        let header: Headers | undefined;
        await client.chat(hello, {
          headers: { "x-request-id": "order-17" },
          onHeader: (headers) => (header = headers),
        });
        assert.equal(header?.get("x-request-id"), "order-17");
      });
    });
  }

  test("grpc-js, unary and streaming", async () => {
    const address = new URL(service.url).host;
    const unary = await callWithGrpcJs(address, ChatService.method.chat, create(ChatRequestSchema, hello));
    assert.deepEqual(comparable(unary.messages[0] as ChatResponse), reference.chat);
    const input = create(StreamChatRequestSchema, { chat: hello });
    const streamed = await callWithGrpcJs(address, ChatService.method.streamChat, input);
    const last = (streamed.messages.at(-1) as StreamChatResponse).event;
    assert.ok(last.case === "messageStop");
    assert.deepEqual(comparable(last.value.finalMessage), reference.chat);
    assert.equal(streamed.error, undefined);
  });

  test("grpc-js, errors with details in the trailers", async () => {
    const address = new URL(service.url).host;
    const request = create(ChatRequestSchema, { messages: [{ role: Role.USER, text: "limit" }] });
    const unary = await callWithGrpcJs(address, ChatService.method.chat, request);
    const details = unary.trailers?.get("grpc-status-details-bin")[0];
    assert.ok(details instanceof Buffer);
    assert.deepEqual(toldWithoutId(toldByStatus(details)), reference.limit);
    const broken = create(StreamChatRequestSchema, { chat: { messages: [{ role: Role.USER, text: "break" }] } });
    const streamed = await callWithGrpcJs(address, ChatService.method.streamChat, broken);
    const streamDetails = streamed.trailers?.get("grpc-status-details-bin")[0];
    assert.ok(streamDetails instanceof Buffer);
    assert.deepEqual(toldWithoutId(toldByStatus(streamDetails)), reference.break);
  });
});

test("the events of a stream carry the same text as its final message", async () => {
  let text = "";
  for await (const { event } of service.chat.streamChat({ chat: hello })) {
    if (event.case === "contentBlockDelta" && event.value.delta.case === "text") text += event.value.delta.value;
  }
  assert.equal(text, "Hello to you, and to you! äöü 😀");
});

test("a stream can leave out its final message", async () => {
  for await (const { event } of service.chat.streamChat({ chat: hello, omitFinalMessage: true })) {
    if (event.case === "messageStop") assert.equal(event.value.finalMessage, undefined);
  }
});

test("tokens are counted and models told", async () => {
  const { inputTokens } = await service.chat.countTokens({ chat: hello });
  assert.ok(inputTokens > 0);
  const models = service.client(ModelService);
  const first = await models.listModels({ pageSize: 2 });
  assert.equal(first.models.length, 2);
  const second = await models.listModels({ pageSize: 2, pageToken: first.nextPageToken });
  assert.notEqual(second.models[0]?.id, first.models[0]?.id);
  const { model } = await models.getModel({ id: first.models[0]?.id ?? "" });
  assert.deepEqual(model, first.models[0]);
});
