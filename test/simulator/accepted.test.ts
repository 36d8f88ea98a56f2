import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import type {
  ContentBlockParam,
  DocumentBlockParam,
  ImageBlockParam,
  MessageCreateParamsBase,
  ThinkingConfigParam,
  ToolResultBlockParam,
  ToolUnion,
  WebFetchURLSources,
} from "@anthropic-ai/sdk/resources/messages/messages.js";
import { createSimulator, redactThinking, type Simulator, signThinking } from "../../src/simulator/simulator.ts";
import { answer, ask, connect, HEADERS, request, WEATHER_TOOL } from "./client.ts";

let simulator: Simulator;
before(async () => {
  simulator = await createSimulator({ pacing: "instant" });
});
after(() => simulator[Symbol.asyncDispose]());

const cache_control = { type: "ephemeral", ttl: "1h" } as const;
const common = { allowed_callers: ["direct"], defer_loading: false, strict: false } as const;
const input_schema = { type: "object", properties: { x: { type: "string" } }, required: ["x"] } as const;
const web = { allowed_domains: ["example.com"], max_uses: 3 };
const sources: WebFetchURLSources = {
  client_tool_results: { type: "all" },
  server_tool_results: { type: "except", tools: [{ type: "tool_reference", name: "web_fetch" }] },
  user_input: { type: "none" },
};

/** One tool of every type; the compiler notices when the SDK has a new one. */
const TOOLS: Readonly<Record<NonNullable<ToolUnion["type"]>, ToolUnion>> = {
  custom: {
    type: "custom",
    name: "lookup",
    description: "Looks up.",
    input_schema: { ...input_schema, required: [...input_schema.required] },
    eager_input_streaming: true,
    input_examples: [{ x: "y" }],
    cache_control,
    strict: false,
    allowed_callers: ["direct", "code_execution_20260521"],
  },
  bash_20250124: { ...common, type: "bash_20250124", name: "bash", allowed_callers: ["direct"], input_examples: [{}] },
  memory_20250818: { type: "memory_20250818", name: "memory" },
  text_editor_20250124: { type: "text_editor_20250124", name: "str_replace_editor" },
  text_editor_20250429: { type: "text_editor_20250429", name: "str_replace_based_edit_tool" },
  text_editor_20250728: { type: "text_editor_20250728", name: "str_replace_based_edit_tool", max_characters: 100 },
  browser_toolset_20260801: {
    type: "browser_toolset_20260801",
    configs: { javascript_exec: { enabled: false }, type: null, navigate: { defer_loading: null } },
    cache_control,
  },
  computer_toolset_20260801: { type: "computer_toolset_20260801", configs: { zoom: { enabled: true } } },
  code_execution_20250522: { type: "code_execution_20250522", name: "code_execution" },
  code_execution_20250825: { type: "code_execution_20250825", name: "code_execution" },
  code_execution_20260120: { type: "code_execution_20260120", name: "code_execution" },
  code_execution_20260521: { type: "code_execution_20260521", name: "code_execution", strict: true },
  web_search_20250305: {
    ...web,
    type: "web_search_20250305",
    name: "web_search",
    user_location: { type: "approximate", city: "Bern", country: "CH", region: null, timezone: "Europe/Zurich" },
  },
  web_search_20260209: { ...web, type: "web_search_20260209", name: "web_search" },
  web_search_20260318: { ...web, type: "web_search_20260318", name: "web_search", response_inclusion: "excluded" },
  web_fetch_20250910: { ...web, type: "web_fetch_20250910", name: "web_fetch", citations: { enabled: true } },
  web_fetch_20260209: { type: "web_fetch_20260209", name: "web_fetch", max_content_tokens: 100, url_sources: sources },
  web_fetch_20260309: { type: "web_fetch_20260309", name: "web_fetch", use_cache: false },
  web_fetch_20260318: { type: "web_fetch_20260318", name: "web_fetch", use_cache: true, response_inclusion: "full" },
  tool_search_tool_regex_20251119: { type: "tool_search_tool_regex_20251119", name: "tool_search_tool_regex" },
  tool_search_tool_regex: { type: "tool_search_tool_regex", name: "tool_search_tool_regex" },
  tool_search_tool_bm25_20251119: { type: "tool_search_tool_bm25_20251119", name: "tool_search_tool_bm25" },
  tool_search_tool_bm25: { type: "tool_search_tool_bm25", name: "tool_search_tool_bm25" },
};

const image: ImageBlockParam = {
  type: "image",
  source: { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" },
  cache_control: null,
  transformations: { oversized_image: "error" },
};

const DOCUMENTS: Readonly<Record<DocumentBlockParam["source"]["type"], DocumentBlockParam["source"]>> = {
  base64: { type: "base64", media_type: "application/pdf", data: "JVBERi0xLjc=" },
  text: { type: "text", media_type: "text/plain", data: "Grass is green." },
  content: { type: "content", content: [{ type: "text", text: "Grass" }, image] },
  url: { type: "url", url: "https://example.com/a.pdf" },
  file: { type: "file", file_id: "file_1" },
};

const document: DocumentBlockParam = {
  type: "document",
  source: DOCUMENTS.text,
  title: "Grass",
  context: null,
  citations: { enabled: false },
};

type ToolResultContent = Exclude<NonNullable<ToolResultBlockParam["content"]>, string>[number];

const RESULT_PARTS: Readonly<Record<Exclude<ToolResultContent["type"], "browser_state">, ToolResultContent>> = {
  text: { type: "text", text: "fine" },
  image,
  document,
  search_result: { type: "search_result", source: "s", title: "t", content: [{ type: "text", text: "c" }] },
  tool_reference: { type: "tool_reference", tool_name: "lookup" },
};

const server = { type: "server_tool_use", input: {}, caller: { type: "direct" } } as const;

/** One block of every kind that an assistant can have said. */
const ASSISTANT: Readonly<
  Record<
    Exclude<ContentBlockParam["type"], "image" | "document" | "search_result" | "tool_result">,
    readonly ContentBlockParam[]
  >
> = {
  text: [
    {
      type: "text",
      text: "As was said",
      citations: [
        {
          type: "char_location",
          cited_text: "a",
          document_index: 0,
          document_title: null,
          start_char_index: 0,
          end_char_index: 1,
        },
        {
          type: "page_location",
          cited_text: "a",
          document_index: 0,
          document_title: "t",
          start_page_number: 1,
          end_page_number: 2,
        },
        {
          type: "content_block_location",
          cited_text: "a",
          document_index: 0,
          document_title: null,
          start_block_index: 0,
          end_block_index: 1,
        },
        {
          type: "search_result_location",
          cited_text: "a",
          search_result_index: 0,
          source: "s",
          title: null,
          start_block_index: 0,
          end_block_index: 1,
        },
        { type: "web_search_result_location", cited_text: "a", encrypted_index: "i", title: null, url: "u" },
      ],
    },
  ],
  thinking: [
    { type: "thinking", thinking: "hm", signature: signThinking("hm") },
    { type: "thinking", thinking: "", signature: signThinking("hidden", "omitted") },
  ],
  redacted_thinking: [{ type: "redacted_thinking", data: redactThinking("hm") }],
  server_tool_use: [],
  tool_use: [
    { type: "tool_use", id: "toolu_1", name: "lookup", input: { x: "y" }, caller: { type: "direct" }, cache_control },
    {
      type: "tool_use",
      id: "toolu_2",
      name: "lookup",
      input: {},
      caller: { type: "code_execution_20260120", tool_id: "srvtoolu_9" },
    },
    { type: "tool_use", id: "toolu_3", name: "screenshot", input: {}, toolset_name: "browser" },
  ],
  web_search_tool_result: [
    { ...server, id: "srvtoolu_1", name: "web_search" },
    {
      type: "web_search_tool_result",
      tool_use_id: "srvtoolu_1",
      caller: { type: "direct" },
      content: [{ type: "web_search_result", encrypted_content: "e", title: "t", url: "u", page_age: null }],
    },
    { ...server, id: "srvtoolu_2", name: "web_search" },
    {
      type: "web_search_tool_result",
      tool_use_id: "srvtoolu_2",
      content: { type: "web_search_tool_result_error", error_code: "query_too_long" },
    },
  ],
  web_fetch_tool_result: [
    { ...server, id: "srvtoolu_3", name: "web_fetch" },
    {
      type: "web_fetch_tool_result",
      tool_use_id: "srvtoolu_3",
      content: { type: "web_fetch_result", url: "u", retrieved_at: null, content: { ...document, citations: null } },
    },
    { ...server, id: "srvtoolu_4", name: "web_fetch" },
    {
      type: "web_fetch_tool_result",
      tool_use_id: "srvtoolu_4",
      content: { type: "web_fetch_tool_result_error", error_code: "url_not_allowed" },
    },
  ],
  code_execution_tool_result: [
    { ...server, id: "srvtoolu_5", name: "code_execution" },
    {
      type: "code_execution_tool_result",
      tool_use_id: "srvtoolu_5",
      content: {
        type: "code_execution_result",
        content: [{ type: "code_execution_output", file_id: "f" }],
        return_code: 0,
        stderr: "",
        stdout: "1",
      },
    },
    { ...server, id: "srvtoolu_6", name: "code_execution" },
    {
      type: "code_execution_tool_result",
      tool_use_id: "srvtoolu_6",
      content: {
        type: "encrypted_code_execution_result",
        content: [],
        encrypted_stdout: "e",
        return_code: 0,
        stderr: "",
      },
    },
  ],
  bash_code_execution_tool_result: [
    { ...server, id: "srvtoolu_7", name: "bash_code_execution" },
    {
      type: "bash_code_execution_tool_result",
      tool_use_id: "srvtoolu_7",
      content: { type: "bash_code_execution_tool_result_error", error_code: "output_file_too_large" },
    },
  ],
  text_editor_code_execution_tool_result: [
    { ...server, id: "srvtoolu_8", name: "text_editor_code_execution" },
    {
      type: "text_editor_code_execution_tool_result",
      tool_use_id: "srvtoolu_8",
      content: { type: "text_editor_code_execution_str_replace_result", lines: ["a"], new_lines: 1 },
    },
  ],
  tool_search_tool_result: [
    { ...server, id: "srvtoolu_9", name: "tool_search_tool_bm25" },
    {
      type: "tool_search_tool_result",
      tool_use_id: "srvtoolu_9",
      content: {
        type: "tool_search_tool_search_result",
        tool_references: [{ type: "tool_reference", tool_name: "lookup" }],
      },
    },
  ],
  container_upload: [{ type: "container_upload", file_id: "file_1" }],
};

/** Tools of which no two share a name. */
const DISTINCT: readonly ToolUnion[] = [
  TOOLS.custom,
  TOOLS.bash_20250124,
  TOOLS.memory_20250818,
  TOOLS.text_editor_20250728,
  TOOLS.browser_toolset_20260801,
  TOOLS.computer_toolset_20260801,
  TOOLS.code_execution_20260521,
  TOOLS.web_search_20260318,
  TOOLS.web_fetch_20260209,
  TOOLS.tool_search_tool_regex,
  TOOLS.tool_search_tool_bm25,
];

describe("everything that is generally available is accepted", () => {
  for (const [type, tool] of Object.entries(TOOLS)) {
    test(`tool ${type}`, async () => {
      const others = JSON.stringify(tool).includes('"web_fetch"')
        ? []
        : [{ type: "web_fetch_20250910", name: "web_fetch" }];
      await answer(simulator, request({ tools: [tool, ...others] }));
    });
  }

  for (const [type, source] of Object.entries(DOCUMENTS)) {
    test(`document from ${type}`, () =>
      answer(simulator, request({ messages: [{ role: "user", content: [{ type: "document", source }] }] })));
  }

  test("every kind of block in a conversation", async () => {
    const results: ToolResultBlockParam[] = [
      { type: "tool_result", tool_use_id: "toolu_1", content: Object.values(RESULT_PARTS), is_error: false },
      { type: "tool_result", tool_use_id: "toolu_2" },
      {
        type: "tool_result",
        tool_use_id: "toolu_3",
        toolset_name: "browser",
        content: [
          { type: "text", text: "done" },
          image,
          {
            type: "browser_state",
            tabs: [
              { tab_id: "1", title: "", url: "", active: true },
              { tab_id: "2", title: "t", url: "u" },
            ],
            state_changes: [
              { type: "tab_opened", tab_id: "2" },
              { type: "download_started", download_id: "a", url: "u" },
              { type: "download_completed", download_id: "b", url: "u", path: "p", size_bytes: 1 },
              { type: "download_failed", download_id: "c", url: "u", error: null },
            ],
          },
        ],
      },
    ];
    const params: MessageCreateParamsBase = {
      model: "claude-opus-5-5",
      max_tokens: 1024,
      tools: [...DISTINCT],
      system: [{ type: "text", text: "Be kind.", cache_control }],
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "Hi", citations: [] },
            image,
            document,
            RESULT_PARTS.search_result,
          ] as ContentBlockParam[],
        },
        { role: "system", content: "Be brief." },
        { role: "system", content: [{ type: "text", text: "And clear." }] },
        { role: "assistant", content: Object.values(ASSISTANT).flat() },
        { role: "user", content: results },
        { role: "user", content: [{ type: "container_upload", file_id: "file_2" }] },
      ],
    };
    const message = await connect(simulator).messages.create({ ...params, stream: false });
    assert.equal(message.stop_reason, "end_turn");
  });

  test("every member of the request", async () => {
    const params: Required<Omit<MessageCreateParamsBase, "user_profile_id" | "workspace_id">> = {
      model: "claude-opus-5",
      max_tokens: 2048,
      messages: [{ role: "user", content: "Hi" }],
      cache_control: { type: "ephemeral" },
      container: { id: "container_1", skills: [{ type: "anthropic", skill_id: "pptx", version: "latest" }] },
      diagnostics: { previous_message_id: null },
      inference_geo: "us",
      metadata: { user_id: "13803d75-b4b5-4c3e-b2a2-6f21399b021b" },
      output_config: { effort: "max", format: null },
      service_tier: "standard_only",
      speed: "fast",
      stop_sequences: ["STOP"],
      stream: false,
      system: "Be kind.",
      thinking: { type: "adaptive", display: null },
      tool_choice: { type: "auto", disable_parallel_tool_use: true },
      tools: [TOOLS.custom],
    };
    const message = await answer(simulator, params);
    assert.equal(message.usage.speed, "fast");
    assert.equal(message.usage.inference_geo, "us");
    assert.equal(message.container.id, "container_1");
    assert.deepEqual(message.container.skills, [{ type: "anthropic", skill_id: "pptx", version: "latest" }]);
    assert.ok(Date.parse(message.container.expires_at) > Date.now());
  });

  const THINKING: Readonly<Record<ThinkingConfigParam["type"], [model: string, thinking: ThinkingConfigParam]>> = {
    adaptive: ["claude-opus-5-5", { type: "adaptive", display: "summarized" }],
    enabled: ["claude-sonnet-4-6", { type: "enabled", budget_tokens: 1024, display: "omitted" }],
    disabled: ["claude-haiku-5-5", { type: "disabled" }],
    between_tools: ["claude-sonnet-5-5", { type: "between_tools" }],
  };
  for (const [type, [model, thinking]] of Object.entries(THINKING)) {
    test(`thinking ${type} on ${model}`, () => answer(simulator, request({ model, max_tokens: 2048, thinking })));
  }

  test("a container by its name", async () => {
    const message = await answer(simulator, request({ container: "container_7" }));
    assert.deepEqual([message.container.id, message.container.skills], ["container_7", null]);
  });

  test("consecutive messages of one role, whose tool results count as one turn", () =>
    answer(
      simulator,
      request({
        messages: [
          { role: "user", content: "Hi" },
          { role: "user", content: "Are you there?" },
          { role: "assistant", content: [{ type: "tool_use", id: "a", name: "t", input: {} }] },
          { role: "assistant", content: [{ type: "tool_use", id: "b", name: "t", input: {} }] },
          { role: "user", content: [{ type: "tool_result", tool_use_id: "b" }] },
          { role: "user", content: [{ type: "tool_result", tool_use_id: "a" }] },
        ],
      }),
    ));

  test("a key in x-api-key, a list of betas, and a gzipped body", async () => {
    const { authorization: _key, ...headers } = HEADERS;
    const response = await fetch(`${simulator.url}/v1/messages`, {
      method: "POST",
      headers: {
        ...headers,
        "x-api-key": "k",
        "anthropic-beta": "a-2026-01-01, b-2026-01-01",
        "content-encoding": "gzip",
      },
      body: gzipSync(JSON.stringify(request())),
    });
    assert.equal(response.status, 200);
    assert.deepEqual(simulator.requests.at(-1)?.body, request());
  });

  test("text put into a thinking block that was returned without, as Claude ignores it", () =>
    answer(
      simulator,
      request({
        messages: [
          { role: "user", content: "Hi" },
          {
            role: "assistant",
            content: [
              { type: "thinking", thinking: "anything", signature: signThinking("hidden", "omitted") },
              { type: "text", text: "Hi" },
            ],
          },
          { role: "user", content: "Go on" },
        ],
      }),
    ));

  test("a strict schema whose references multiply, without following each again", () => {
    const level = (index: number) => ({
      type: "object",
      properties: { a: { $ref: `#/$defs/l${index + 1}` }, b: { $ref: `#/$defs/l${index + 1}` } },
      required: ["a", "b"],
      additionalProperties: false,
    });
    const levels = Array.from({ length: 60 }, (_, index) => [`l${index}`, level(index)]);
    const $defs = { ...Object.fromEntries(levels), l60: { type: "string" } };
    const input_schema = { ...level(0), $defs };
    return answer(simulator, request({ tools: [{ name: "t", strict: true, input_schema }] }));
  });

  test("a prompt of a megabyte that keeps asking for what it never gets", () =>
    answer(simulator, ask("use ".repeat(300_000), { tools: [WEATHER_TOOL] })));
});
