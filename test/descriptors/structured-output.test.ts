import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import {
  type ChatRequestSchema,
  type ChatResponse,
  StopReason,
  type StreamChatResponse,
} from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { messageText } from "../../src/descriptors/message-json.ts";
import { loadMessageTypes, type MessageTypes } from "../../src/descriptors/message-types.ts";
import { buildImage, type DescriptorImage } from "../support/descriptor-image.ts";
import { failureOf, toldBy } from "../support/details.ts";
import { valuesOf } from "../support/schema-values.ts";
import { type Service, startService } from "../support/service.ts";

type Chat = MessageInitShape<typeof ChatRequestSchema>;

let image: DescriptorImage;
let service: Service;
let types: MessageTypes;
before(async () => {
  image = await buildImage("test/descriptors/fixtures");
  service = await startService({ config: { tools: { descriptors: [image.path] } } });
  types = loadMessageTypes([image.path]);
});
after(async () => {
  await service[Symbol.asyncDispose]();
  await image[Symbol.asyncDispose]();
});

const messages = [{ role: Role.USER, text: "What is it?" }];
const asking = (name: string): Chat => ({
  messages,
  outputConfig: { format: { case: "messageType", value: `shapes.${name}` } },
});
const asJson: Chat = {
  messages,
  outputConfig: {
    format: { case: "jsonSchema", value: '{"type":"object","properties":{},"additionalProperties":false}' },
  },
};

/** What the next request is answered. */
function script(text: string | readonly string[], more: Record<string, unknown> = {}): void {
  const content = [text].flat().map((one) => ({ text: one }));
  service.simulator.run({ steps: [{ respond: { content, ...more } }] });
}

/** The JSON of the message of a response. */
function output(response: ChatResponse | undefined): unknown {
  const any = response?.structuredOutput;
  assert.ok(any, "no structured output");
  const type = types.find(any.typeUrl.replace("type.googleapis.com/", ""));
  assert.ok(type);
  return JSON.parse(messageText(type.desc, fromBinary(type.desc, any.value), type.registry));
}

/** Both ways to a whole message. */
const ways: Record<string, (chat: Chat) => Promise<ChatResponse | undefined>> = {
  Chat: (chat) => service.chat.chat(chat),
  async StreamChat(chat) {
    let message: ChatResponse | undefined;
    for await (const { event } of service.chat.streamChat({ chat })) {
      if (event.case === "messageStop") message = event.value.finalMessage;
    }
    return message;
  },
};

/** All events until the call failed, and what its error tells. */
async function untilFailure(call: AsyncIterable<StreamChatResponse>) {
  const events: string[] = [];
  try {
    for await (const { event } of call) events.push(event.case ?? "");
  } catch (error) {
    return { events, told: toldBy(error) };
  }
  throw new Error("the call succeeded");
}

for (const [way, ask] of Object.entries(ways)) {
  describe(`${way} with a message type`, () => {
    test("constrains Claude by the schema of the type", async () => {
      script('{"x":1,"y":2}');
      await ask(asking("v1.Point"));
      const { body } = await service.simulator.nextRequest();
      const { format } = (body as { output_config: { format: { type: string; schema: unknown } } }).output_config;
      assert.equal(format.type, "json_schema");
      assert.deepEqual(format.schema, JSON.parse(types.schema("shapes.v1.Point", "output")));
    });

    for (const name of ["Point", "Nested", "Enums", "Oneofs", "Choice", "Order", "Optional", "Names"]) {
      test(`answers a ${name} that the simulator makes from the schema`, async () => {
        service.simulator.run({ steps: [{ respond: { converse: true } }] });
        const response = await ask(asking(`v1.${name}`));
        assert.ok(output(response));
        assert.equal(response?.stopReason, StopReason.END_TURN);
        assert.equal(response?.content.length, 1);
      });
    }

    test("reads the text of all blocks together, and keeps integers of 64 bits exact", async () => {
      script(['{"id":9223372036854775807,"customer":"c",', '"items":[{"sku":"s","quantity":1}]}']);
      assert.deepEqual(output(await ask(asking("v1.Order"))), {
        id: "9223372036854775807",
        customer: "c",
        items: [{ sku: "s", quantity: 1 }],
      });
    });

    const stops: Record<string, readonly [stopReason: string, why: RegExp]> = {
      "is cut off by max_tokens": ["max_tokens", /cut off by max_tokens/],
      "is refused": ["refusal", /Claude has refused to answer/],
      "does not fit into the context window": ["model_context_window_exceeded", /context window/],
    };
    for (const [what, [stopReason, why]] of Object.entries(stops)) {
      for (const [kind, chat] of Object.entries({ message: asking("v1.Point"), "JSON schema": asJson })) {
        test(`an answer that ${what} is no ${kind}, however complete it looks`, async () => {
          script('{"x":1}', { stop_reason: stopReason });
          const told = await failureOf(ask(chat));
          assert.equal(told.code, "FailedPrecondition");
          assert.equal(told.errorInfo?.reason, "STRUCTURED_OUTPUT_INVALID");
          assert.match(told.message, why);
          assert.ok((told.partialOutput?.usage?.outputTokens ?? 0) > 0, "what it has cost is told");
        });
      }
    }

    test("an answer of the wrong shape is an error with the paths, and without the answer's text", async () => {
      script('{"customer":"private","items":[{"sku":"private","quantity":"private"}],"color":7.5}');
      const told = await failureOf(ask(asking("v1.Order")));
      assert.equal(told.errorInfo?.reason, "STRUCTURED_OUTPUT_INVALID");
      assert.deepEqual(
        told.badRequest?.fieldViolations.map(({ field }) => field),
        ["structured_output.items[0].quantity", "structured_output.color"],
      );
      assert.match(told.message, /no valid shapes\.v1\.Order: items\[0\]\.quantity: must be an integer/);
      assert.doesNotMatch(
        JSON.stringify(told, (_, value) => (typeof value === "bigint" ? "" : value)),
        /private/,
      );
      await service.line(({ reason }) => reason === "STRUCTURED_OUTPUT_INVALID");
      assert.doesNotMatch(JSON.stringify(service.logs), /private/);
    });

    test("an answer that breaks a rule is an error with its path", async () => {
      script('{"customer":"c","items":[{"sku":"s","quantity":0}]}');
      const told = await failureOf(ask(asking("v1.Order")));
      assert.equal(told.badRequest?.fieldViolations[0]?.field, "structured_output.items[0].quantity");
    });

    test("an answer that is no JSON is an error, for a JSON schema too", async () => {
      for (const chat of [asking("v1.Point"), asJson]) {
        script('Here it is: {"x":1}');
        const told = await failureOf(ask(chat));
        assert.equal(told.errorInfo?.reason, "STRUCTURED_OUTPUT_INVALID");
        assert.match(told.message, /valid JSON/);
      }
    });

    test("an answer that is to go on is not looked at", async () => {
      service.simulator.run({
        steps: [{ respond: { content: [{ text: "Let me see." }], stop_reason: "pause_turn" }, validate: false }],
      });
      const response = await ask(asking("v1.Point"));
      assert.equal(response?.stopReason, StopReason.PAUSE_TURN);
      assert.equal(response?.structuredOutput, undefined);
    });

    test("a JSON schema has no message", async () => {
      script("{}");
      const response = await ask(asJson);
      assert.equal(response?.structuredOutput, undefined);
      assert.equal(response?.content.length, 1);
    });

    test("an answer without a format is not looked at", async () => {
      script("no JSON", { stop_reason: "max_tokens" });
      assert.equal((await ask({ messages }))?.stopReason, StopReason.MAX_TOKENS);
    });
  });
}

describe("values that fit the schema come back as the message that they are", () => {
  for (const name of ["Point", "Nested", "Oneofs", "Choice"]) {
    test(name, async () => {
      const values = valuesOf(types.schema(`shapes.v1.${name}`, "output"));
      await fc.assert(
        fc.asyncProperty(values, async (value) => {
          script(JSON.stringify(value));
          const response = await service.chat.chat(asking(`v1.${name}`));
          assert.ok(response.structuredOutput);
          const type = types.find(`shapes.v1.${name}`);
          assert.ok(type && anyUnpack(response.structuredOutput, type.registry));
        }),
        { numRuns: 20 },
      );
    });
  }
});

describe("a stream whose answer does not fit", () => {
  for (const omitFinalMessage of [false, true]) {
    test(`fails in the place of its end${omitFinalMessage ? ", also without the final message" : ""}`, async () => {
      script('{"x":"private"}');
      const { events, told } = await untilFailure(
        service.chat.streamChat({ chat: asking("v1.Point"), omitFinalMessage }),
      );
      assert.ok(events.includes("contentBlockDelta"));
      assert.equal(events.at(-1), "messageDelta");
      assert.equal(told.errorInfo?.reason, "STRUCTURED_OUTPUT_INVALID");
      assert.equal(told.badRequest?.fieldViolations[0]?.field, "structured_output.x");
    });
  }

  test("succeeds without the final message when it does fit", async () => {
    script('{"x":1}');
    const events: StreamChatResponse[] = [];
    for await (const event of service.chat.streamChat({ chat: asking("v1.Point"), omitFinalMessage: true })) {
      events.push(event);
    }
    const { event } = events.at(-1) ?? {};
    assert.equal(event?.case, "messageStop");
    assert.equal(event.case === "messageStop" && event.value.finalMessage, undefined);
  });
});

describe("what cannot be asked for is refused before Claude is asked", () => {
  const rows: Record<string, readonly [type: string, why: RegExp]> = {
    "an unknown type": [
      "shapes.v1.None",
      /^Parley has no descriptor of shapes.v1.None, but those of shapes.v1.Choice, (shapes\.v1\.\w+, ){9}…$/,
    ],
    "a type of an unknown package": [
      "none.None",
      /^Parley has no descriptor of none.None, but those of google.rpc.BadRequest, /,
    ],
    "a type that can be nested in itself": ["shapes.v1.Tree", /children: shapes.v1.Tree is nested in itself/],
    "a map": ["shapes.v1.Maps", /texts: a map can have any keys/],
    "a type that is no object": ["google.protobuf.Timestamp", /is no object in JSON/],
  };
  for (const [what, [value, why]] of Object.entries(rows)) {
    test(what, async () => {
      const before = service.simulator.requests.length;
      const chat: Chat = { messages, outputConfig: { format: { case: "messageType", value } } };
      for (const [prefix, told] of [
        ["", await failureOf(service.chat.chat(chat))],
        ["chat.", await failureOf(service.chat.streamChat({ chat }))],
        ["chat.", await failureOf(service.chat.countTokens({ chat }))],
      ] as const) {
        assert.equal(told.code, "InvalidArgument");
        assert.equal(told.errorInfo?.reason, "INVALID_REQUEST");
        assert.equal(told.badRequest?.fieldViolations[0]?.field, `${prefix}output_config.message_type`);
        assert.match(told.badRequest?.fieldViolations[0]?.description ?? "", why);
      }
      assert.equal(service.simulator.requests.length, before);
    });
  }
});

test("Claude's rules for schemas of answers accept all that there are", async () => {
  let count = 0;
  for (const name of types.names().filter((one) => one.startsWith("shapes."))) {
    try {
      types.schema(name, "output");
    } catch {
      continue;
    }
    count++;
    service.simulator.run({ steps: [{ respond: { converse: true } }] });
    // The simulator knows nothing of what words tell, so that its answer may not fit. But it answers.
    try {
      await service.chat.chat(asking(name.replace("shapes.", "")));
    } catch (error) {
      assert.equal(toldBy(error).errorInfo?.reason, "STRUCTURED_OUTPUT_INVALID", name);
    }
  }
  assert.ok(count > 20);
});

test("the schema is among what is counted", async () => {
  await service.chat.countTokens({ chat: asking("v1.Order") });
  const { path, bodyText } = service.simulator.requests.at(-1) ?? {};
  assert.equal(path, "/v1/messages/count_tokens");
  assert.ok(bodyText?.includes(types.schema("shapes.v1.Order", "output")), "the exact text of the schema");
});

test("a service without descriptors says so", async () => {
  await using bare = await startService();
  const told = await failureOf(bare.chat.chat(asking("v1.Point")));
  assert.match(told.message, /Parley has no descriptor of shapes.v1.Point, nor of any other message$/);
});

test("a service whose descriptor image cannot be read does not start", async () => {
  await assert.rejects(
    startService({ config: { tools: { descriptors: ["/does/not/exist.binpb"] } } }),
    /\/does\/not\/exist.binpb cannot be read \(ENOENT\)/,
  );
});
