import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type ChatRequestSchema, Effort, StopReason, ThinkingDisplay } from "../../gen/parley/v1/chat_service_pb.js";
import { CacheTtl, OversizedImage, Role } from "../../gen/parley/v1/content_pb.js";
import { ModelService } from "../../gen/parley/v1/model_service_pb.js";
import { signThinking } from "../../src/simulator/simulator.ts";
import { failureOf } from "../support/details.ts";
import { type Service, startService } from "../support/service.ts";

type Chat = MessageInitShape<typeof ChatRequestSchema>;

let service: Service;
before(async () => {
  const claude = {
    allowedBetas: ["context-1m-2025-08-07"],
    allowedExtraParams: ["betas_extra", "container", "mcp_servers", "workspace_id"],
  };
  service = await startService({ config: { claude } });
});
after(() => service[Symbol.asyncDispose]());

const COUNT = "/v1/messages/count_tokens";
const counted = { status: 200, raw: '{"input_tokens":7}' };

const user = (text: string) => ({ role: Role.USER, text });
const schema = '{"type":"object","properties":{"10":{"type":"integer"},"2":{"type":"string"}},"required":["10"]}';

/** What Claude is sent for a request, as exact text, besides what every request has. */
async function sent(chat: Chat, validate: boolean): Promise<{ text: string; headers: NodeJS.Dict<unknown> }> {
  // Valid JSON: some requests demand it.
  const respond = { content: [{ text: "{}" }] };
  service.simulator.run({ steps: [{ respond, ...(validate ? {} : { validate: false as const }) }] });
  await service.chat.chat(chat);
  const { bodyText, headers } = await service.simulator.nextRequest();
  const text = bodyText.replace('{"model":"claude-sonnet-5-5","max_tokens":8192,"stream":true,', "{");
  return { text, headers };
}

interface Row {
  readonly chat: Chat;
  /** Exact text of the request's body. */
  readonly body: string;
  readonly headers?: Record<string, string>;
  /** The simulator does not know what is sent. */
  readonly unknown?: true;
}

const hello = '"messages":[{"role":"user","content":"hello"}]';
const messages = [user("hello")];
const rows: Record<string, Row> = {
  "a text": { chat: { messages }, body: `{${hello}}` },
  "a conversation": {
    chat: { messages: [user("a"), { role: Role.ASSISTANT, text: "b" }, user("c")] },
    body: '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}',
  },
  "a system prompt": { chat: { messages, system: { text: "Be brief" } }, body: `{${hello},"system":"Be brief"}` },
  "a system prompt that is cached": {
    chat: {
      messages,
      system: {
        content: [{ kind: { case: "text", value: { text: "s" } }, cacheControl: { ttl: CacheTtl.CACHE_TTL_1H } }],
      },
    },
    body: `{${hello},"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}]}`,
  },
  "an instruction in mid-conversation": {
    chat: { messages: [user("hello"), { role: Role.SYSTEM, text: "Now in German" }] },
    body: '{"messages":[{"role":"user","content":"hello"},{"role":"system","content":"Now in German"}]}',
  },
  "stop sequences": {
    chat: { messages, stopSequences: ["END", "\n---"] },
    body: `{${hello},"stop_sequences":["END","\\n---"]}`,
  },
  "adaptive thinking": {
    chat: { messages, thinking: { mode: { case: "adaptive", value: { display: ThinkingDisplay.OMITTED } } } },
    body: `{${hello},"thinking":{"type":"adaptive","display":"omitted"}}`,
  },
  "thinking with a budget": {
    chat: {
      messages,
      model: "claude-opus-4-6",
      thinking: { mode: { case: "enabled", value: { budgetTokens: 1_024 } } },
    },
    body: `{"model":"claude-opus-4-6","max_tokens":8192,"stream":true,${hello},"thinking":{"type":"enabled","budget_tokens":1024}}`,
  },
  "thinking between tools": {
    chat: { messages, thinking: { mode: { case: "betweenTools", value: {} } } },
    body: `{${hello},"thinking":{"type":"between_tools"}}`,
  },
  "no thinking": {
    chat: { messages, model: "claude-sonnet-5", thinking: { mode: { case: "disabled", value: {} } } },
    body: `{"model":"claude-sonnet-5","max_tokens":8192,"stream":true,${hello},"thinking":{"type":"disabled"}}`,
  },
  effort: {
    chat: { messages, outputConfig: { effort: Effort.LOW } },
    body: `{${hello},"output_config":{"effort":"low"}}`,
  },
  "a JSON schema, byte for byte": {
    chat: {
      messages,
      outputConfig: {
        format: {
          case: "jsonSchema",
          value:
            '{ "type":"object" ,"properties":{"10":{"type":"integer"},"2":{"type":"string"}},"additionalProperties":false}',
        },
      },
    },
    body: `{${hello},"output_config":{"format":{"type":"json_schema","schema":{ "type":"object" ,"properties":{"10":{"type":"integer"},"2":{"type":"string"}},"additionalProperties":false}}}}`,
  },
  "a tool, with its schema byte for byte": {
    chat: {
      messages,
      tools: [
        { kind: { case: "custom", value: { name: "look_up", description: "Looks up", inputSchemaJson: schema } } },
      ],
    },
    body: `{${hello},"tools":[{"name":"look_up","description":"Looks up","input_schema":${schema}}]}`,
  },
  "all of a tool": {
    chat: {
      messages,
      tools: [
        {
          kind: {
            case: "custom",
            value: {
              name: "t",
              inputSchemaJson: '{"type":"object"}',
              deferLoading: false,
              eagerInputStreaming: true,
              allowedCallers: ["direct"],
              inputExamplesJson: ['{"10":1.0}'],
              cacheControl: {},
              extraJson: '{"x_new":1.0}',
            },
          },
        },
      ],
    },
    unknown: true,
    body: `{${hello},"tools":[{"name":"t","input_schema":{"type":"object"},"defer_loading":false,"eager_input_streaming":true,"allowed_callers":["direct"],"input_examples":[{"10":1.0}],"cache_control":{"type":"ephemeral"},"x_new":1.0}]}`,
  },
  "one of Claude's own tools, byte for byte": {
    chat: {
      messages,
      tools: [{ kind: { case: "nativeJson", value: '{"type":"web_search_20260318", "name":"web_search"}' } }],
    },
    body: `{${hello},"tools":[{"type":"web_search_20260318", "name":"web_search"}]}`,
  },
  "a choice of tools": {
    chat: {
      messages,
      tools: [{ kind: { case: "custom", value: { name: "t", inputSchemaJson: '{"type":"object"}' } } }],
      toolChoice: { mode: { case: "auto", value: { disableParallelToolUse: true } } },
    },
    body: `{${hello},"tools":[{"name":"t","input_schema":{"type":"object"}}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}`,
  },
  "a tool that must be used": {
    chat: {
      messages,
      model: "claude-opus-5",
      tools: [{ kind: { case: "custom", value: { name: "t", inputSchemaJson: '{"type":"object"}' } } }],
      toolChoice: { mode: { case: "tool", value: { name: "t" } } },
    },
    body: `{"model":"claude-opus-5","max_tokens":8192,"stream":true,${hello},"tools":[{"name":"t","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"t"}}`,
  },
  "automatic caching": {
    chat: { messages, cacheControl: { ttl: CacheTtl.CACHE_TTL_5M } },
    body: `{${hello},"cache_control":{"type":"ephemeral","ttl":"5m"}}`,
  },
  "tier, speed and region": {
    chat: { messages, model: "claude-opus-5-5", serviceTier: "standard_only", speed: "fast", inferenceGeo: "eu" },
    unknown: true,
    body: `{"model":"claude-opus-5-5","max_tokens":8192,"stream":true,${hello},"service_tier":"standard_only","speed":"fast","inference_geo":"eu"}`,
  },
  "the end user, hashed": {
    chat: { messages, endUserId: "jane@example.com" },
    body: `{${hello},"metadata":{"user_id":"${createHash("sha256").update("jane@example.com").digest("hex")}"}}`,
  },
  "a container to go on in": {
    chat: { messages, container: { id: "container_1" } },
    unknown: true,
    body: `{${hello},"container":"container_1"}`,
  },
  "a container with skills": {
    chat: { messages, container: { skills: [{ skillId: "pptx", type: "anthropic" }] } },
    unknown: true,
    body: `{${hello},"container":{"skills":[{"skill_id":"pptx","type":"anthropic"}]}}`,
  },
  "the question why the cache was missed": {
    chat: { messages, diagnostics: {} },
    body: `{${hello},"diagnostics":{"previous_message_id":null}}`,
  },
  "a user profile": {
    chat: { messages, userProfileId: "up_1" },
    body: `{${hello}}`,
    headers: { "anthropic-user-profile-id": "up_1" },
  },
  betas: {
    chat: { messages, betas: ["context-1m-2025-08-07"] },
    body: `{${hello}}`,
    headers: { "anthropic-beta": "context-1m-2025-08-07" },
  },
  "extra parameters that are allowed": {
    chat: { messages, extraParamsJson: '{"betas_extra":{"10":1.0}}' },
    unknown: true,
    body: `{${hello},"betas_extra":{"10":1.0}}`,
  },
  pictures: {
    chat: {
      messages: [
        {
          role: Role.USER,
          content: [
            {
              kind: {
                case: "image",
                value: {
                  source: { source: { case: "data", value: Uint8Array.of(1, 2, 3) }, mediaType: "image/png" },
                  oversizedImage: OversizedImage.ERROR,
                },
              },
            },
            {
              kind: {
                case: "image",
                value: { source: { source: { case: "url", value: "https://example.com/a.png" } } },
              },
            },
            { kind: { case: "image", value: { source: { source: { case: "fileId", value: "file_1" } } } } },
          ],
        },
      ],
    },
    body: '{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AQID"},"transformations":{"oversized_image":"error"}},{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}},{"type":"image","source":{"type":"file","file_id":"file_1"}}]}]}',
  },
  "documents and search results, to be cited": {
    chat: {
      messages: [
        {
          role: Role.USER,
          content: [
            {
              kind: {
                case: "document",
                value: {
                  source: { case: "plainText", value: "Text" },
                  title: "T",
                  context: "C",
                  citationsEnabled: true,
                },
              },
            },
            {
              kind: {
                case: "document",
                value: { source: { case: "content", value: { text: "Part" } }, citationsEnabled: true },
              },
            },
            {
              kind: {
                case: "searchResult",
                value: {
                  source: "s",
                  title: "t",
                  content: [{ kind: { case: "text", value: { text: "r" } } }],
                  citationsEnabled: true,
                },
              },
            },
          ],
        },
      ],
    },
    body: '{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"Text"},"title":"T","context":"C","citations":{"enabled":true}},{"type":"document","source":{"type":"content","content":"Part"},"citations":{"enabled":true}},{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"r"}],"citations":{"enabled":true}}]}]}',
  },
  "a tool call and its result, byte for byte": {
    chat: {
      messages: [
        user("hello"),
        {
          role: Role.ASSISTANT,
          content: [
            { kind: { case: "thinking", value: { thinking: "hm", signature: signThinking("hm") } } },
            { kind: { case: "toolUse", value: { id: "toolu_1", name: "t", inputJson: '{"10":1.0, "2":"x"}' } } },
          ],
        },
        {
          role: Role.USER,
          content: [{ kind: { case: "toolResult", value: { toolUseId: "toolu_1", text: "42", isError: true } } }],
        },
      ],
      tools: [{ kind: { case: "custom", value: { name: "t", inputSchemaJson: '{"type":"object"}' } } }],
    },
    body: `{"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"${signThinking("hm")}"},{"type":"tool_use","id":"toolu_1","name":"t","input":{"10":1.0, "2":"x"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"42","is_error":true}]}],"tools":[{"name":"t","input_schema":{"type":"object"}}]}`,
  },
};

describe("what a request can say reaches Claude exactly", () => {
  for (const [name, { chat, body, headers = {}, unknown }] of Object.entries(rows)) {
    test(name, async () => {
      const { text, headers: received } = await sent(chat, unknown === undefined);
      assert.equal(text, body);
      for (const [header, value] of Object.entries(headers)) assert.equal(received[header], value);
    });
  }
});

describe("what a request may not say is refused before Claude is asked", () => {
  const refusals: Record<string, { chat: Chat; reason: string; countReason?: string; code?: string; field: string }> = {
    "a beta that is not allowed": { chat: { messages, betas: ["other-1"] }, reason: "NOT_ALLOWED", field: "betas[0]" },
    "an extra parameter that is not allowed": {
      chat: { messages, extraParamsJson: '{"thread":{}}' },
      reason: "NOT_ALLOWED",
      field: "extra_params_json",
    },
    "an extra parameter that is none of Claude's": {
      chat: { messages, extraParamsJson: '{"workspace_id":"w"}' },
      reason: "INVALID_REQUEST",
      field: "extra_params_json",
    },
    "an extra parameter that the request sets already": {
      chat: { messages, container: { id: "c" }, extraParamsJson: '{"container":"d"}' },
      reason: "INVALID_REQUEST",
      field: "extra_params_json",
    },
    "extra parameters that are no object": {
      chat: { messages, extraParamsJson: "[]" },
      reason: "INVALID_REQUEST",
      field: "extra_params_json",
    },
    "a schema that is no JSON": {
      chat: { messages, tools: [{ kind: { case: "custom", value: { name: "t", inputSchemaJson: "{x" } } }] },
      reason: "INVALID_REQUEST",
      field: "tools[0].custom.input_schema_json",
    },
    "a tool of Claude's that is no JSON": {
      chat: { messages, tools: [{ kind: { case: "nativeJson", value: "web_search" } }] },
      reason: "INVALID_REQUEST",
      field: "tools[0].native_json",
    },
    "arguments that are no object": {
      chat: {
        messages: [
          {
            role: Role.ASSISTANT,
            content: [{ kind: { case: "toolUse", value: { id: "a", name: "b", inputJson: '{"cut":' } } }],
          },
        ],
      },
      reason: "INVALID_REQUEST",
      field: "messages[0].content[0].tool_use.input_json",
    },
    "an opaque block of another type than it says": {
      chat: {
        messages: [
          { role: Role.USER, content: [{ kind: { case: "opaque", value: { type: "a", json: '{"type":"b"}' } } }] },
        ],
      },
      reason: "INVALID_REQUEST",
      field: "messages[0].content[0].opaque.json",
    },
    "a conversation that Parley would hold": {
      chat: { messages, conversationId: "c" },
      code: "Unimplemented",
      reason: "NOT_IMPLEMENTED",
      field: "conversation_id",
    },
    idempotency: {
      chat: { messages, requestId: "r" },
      code: "Unimplemented",
      reason: "NOT_IMPLEMENTED",
      field: "request_id",
    },
    "an answer of a type that Parley has no descriptor of": {
      chat: { messages, outputConfig: { format: { case: "messageType", value: "a.B" } } },
      reason: "INVALID_REQUEST",
      field: "output_config.message_type",
    },
    "a tool that Parley would run": {
      chat: { messages, tools: [{ kind: { case: "registeredTool", value: "t" } }] },
      reason: "INVALID_REQUEST",
      // Its tokens can be counted, if there is one.
      countReason: "TOOL_NOT_REGISTERED",
      field: "tools[0].registered_tool",
    },
  };
  for (const [name, refusal] of Object.entries(refusals)) {
    const { chat, reason, countReason = reason, code = "InvalidArgument", field } = refusal;
    test(name, async () => {
      const before = service.simulator.requests.length;
      for (const [prefix, told, expected] of [
        ["", await failureOf(service.chat.chat(chat)), reason],
        ["chat.", await failureOf(service.chat.streamChat({ chat })), reason],
        ["chat.", await failureOf(service.chat.countTokens({ chat })), countReason],
      ] as const) {
        assert.equal(told.code, code);
        assert.equal(told.errorInfo?.reason, expected);
        assert.equal(told.badRequest?.fieldViolations[0]?.field, prefix + field);
      }
      assert.equal(service.simulator.requests.length, before);
    });
  }
});

test("a thinking budget above the default of max_tokens is refused, but its input can be counted", async () => {
  const chat = { messages, thinking: { mode: { case: "enabled" as const, value: { budgetTokens: 8_192 } } } };
  const told = await failureOf(service.chat.chat(chat));
  assert.equal(told.errorInfo?.reason, "INVALID_REQUEST");
  assert.equal(told.badRequest?.fieldViolations[0]?.field, "thinking.enabled.budget_tokens");
  service.simulator.run({ steps: [{ expect: { path: COUNT }, respond: counted, validate: false }] });
  assert.equal((await service.chat.countTokens({ chat })).inputTokens, 7);
});

test("extra parameters count, too", async () => {
  const step = { expect: { path: COUNT, body: { mcp_servers: [] } }, respond: counted, validate: false as const };
  service.simulator.run({ steps: [step] });
  await service.chat.countTokens({ chat: { messages, extraParamsJson: '{"mcp_servers":[]}' } });
  service.simulator.verify();
});

describe("names that become a part of the address or of a header are checked", () => {
  for (const id of ["..", ".", ";x", "a b", "ü", ""]) {
    test(`the model ${JSON.stringify(id)}`, async () => {
      const told = await failureOf(service.client(ModelService).getModel({ id }));
      assert.equal(told.code, "InvalidArgument");
      assert.equal(told.badRequest?.fieldViolations[0]?.field, "id");
    });
  }
  for (const userProfileId of ["ü€", "a\nb", "a b"]) {
    test(`the user profile ${JSON.stringify(userProfileId)}`, async () => {
      const told = await failureOf(service.chat.chat({ messages, userProfileId }));
      assert.equal(told.code, "InvalidArgument");
      assert.equal(told.badRequest?.fieldViolations[0]?.field, "user_profile_id");
    });
  }
});

describe("with a Claude that converses", () => {
  before(() => service.simulator.run({ steps: [], afterwards: "converse" }));

  test("a tool is asked for, its result sent back, and the answer is about it", async () => {
    const tools = [
      {
        kind: {
          case: "custom" as const,
          value: {
            name: "get_stock",
            description: "Stock of an article",
            inputSchemaJson: '{"type":"object","properties":{"article":{"type":"string"}},"required":["article"]}',
          },
        },
      },
    ];
    const thinking = { mode: { case: "adaptive" as const, value: { display: ThinkingDisplay.SUMMARIZED } } };
    const question = user("Please call get_stock");
    const first = await service.chat.chat({ messages: [question], tools, thinking });
    assert.equal(first.stopReason, StopReason.TOOL_USE);
    const call = first.content.find(({ kind }) => kind.case === "toolUse")?.kind;
    assert.ok(call?.case === "toolUse");
    assert.equal(typeof JSON.parse(call.value.inputJson).article, "string");
    assert.ok(
      first.content.some(({ kind }) => kind.case === "thinking"),
      "thinking must go back as it came",
    );
    const result = { kind: { case: "toolResult" as const, value: { toolUseId: call.value.id, text: "17 left" } } };
    const second = await service.chat.chat({
      messages: [question, { role: Role.ASSISTANT, content: first.content }, { role: Role.USER, content: [result] }],
      tools,
      thinking,
    });
    assert.equal(second.stopReason, StopReason.END_TURN);
    const text = second.content.map(({ kind }) => (kind.case === "text" ? kind.value.text : "")).join("");
    assert.match(text, /17 left/);
  });

  test("an answer fits the schema that is asked for", async () => {
    const value =
      '{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"],"additionalProperties":false}';
    const { content } = await service.chat.chat({
      messages: [user("Who?")],
      outputConfig: { format: { case: "jsonSchema", value } },
    });
    const text = content[0]?.kind.case === "text" ? content[0].kind.value.text : "";
    assert.deepEqual(Object.keys(JSON.parse(text)).sort(), ["age", "name"]);
  });

  test("documents are cited", async () => {
    const document = {
      kind: {
        case: "document" as const,
        value: { source: { case: "plainText" as const, value: "The sky is blue." }, citationsEnabled: true },
      },
    };
    const question = { kind: { case: "text" as const, value: { text: "What colour is the sky?" } } };
    const { content } = await service.chat.chat({ messages: [{ role: Role.USER, content: [document, question] }] });
    const citations = content.flatMap(({ kind }) => (kind.case === "text" ? kind.value.citations : []));
    assert.equal(citations[0]?.location.case, "charLocation");
  });

  test("a refusal is an answer", async () => {
    const { stopReason, stopDetails, rawStopReason } = await service.chat.chat({ messages: [user("please refuse")] });
    assert.equal(stopReason, StopReason.REFUSAL);
    assert.equal(rawStopReason, "refusal");
    assert.equal(stopDetails?.type, "refusal");
  });

  test("so is one that is cut", async () => {
    const { stopReason } = await service.chat.chat({ messages: [user("200 words please")], maxTokens: 5 });
    assert.equal(stopReason, StopReason.MAX_TOKENS);
  });

  test("the cache can be filled without an answer, and is read then", async () => {
    const system = {
      content: [{ kind: { case: "text" as const, value: { text: "Know this. ".repeat(1_000) } }, cacheControl: {} }],
    };
    const warm = await service.chat.chat({ messages, system, maxTokens: 0 });
    assert.deepEqual(warm.content, []);
    assert.ok((warm.usage?.cacheCreationInputTokens ?? 0) > 0);
    const events = [];
    for await (const { event } of service.chat.streamChat({ chat: { messages, system, maxTokens: 0 } }))
      events.push(event.case);
    assert.deepEqual(events, ["messageStart", "messageDelta", "messageStop"]);
    const next = await service.chat.chat({ messages, system });
    assert.ok((next.usage?.cacheReadInputTokens ?? 0) > 0);
  });
});
