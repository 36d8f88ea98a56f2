import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createSimulator, type Simulator, signThinking } from "../../src/simulator/simulator.ts";
import { ask, type Json, post, refusal, request } from "./client.ts";
import {
  content,
  early,
  ephemeral,
  format,
  result,
  schema,
  search,
  talk,
  text,
  tool,
  tools,
  use,
} from "./request-samples.ts";

let simulator: Simulator;
before(async () => {
  simulator = await createSimulator({ pacing: "instant" });
});
after(() => simulator[Symbol.asyncDispose]());

describe("what reaches over several members", () => {
  const thinking = (type: string, extra: Json = {}) => ({ thinking: { type, ...extra } });
  const enabled = thinking("enabled", { budget_tokens: 1024 });
  const cached = (count: number) => content(...Array.from({ length: count }, () => text({ cache_control: ephemeral })));
  const strict = (input_schema: Json) => tools(tool({ strict: true, input_schema }));
  const closed = (properties: Json, extra: Json = {}) => ({
    type: "object",
    properties,
    additionalProperties: false,
    ...extra,
  });
  const document = (enabledCitations: boolean) => ({
    type: "document",
    source: { type: "text", media_type: "text/plain", data: "A." },
    citations: { enabled: enabledCitations },
  });
  const browser = { tools: [{ type: "browser_toolset_20260801" }] };
  const browserResult = (content: Json[], extra: Json = {}) => ({
    ...talk(
      ["user", "Hi"],
      ["assistant", [use("a", { name: "screenshot", toolset_name: "browser" })]],
      ["user", [result("a", { toolset_name: "browser", content, ...extra })]],
    ),
    ...browser,
  });
  const state = (extra: Json = {}) => ({
    type: "browser_state",
    tabs: [{ tab_id: "1", title: "", url: "", active: true }],
    ...extra,
  });

  const rows: [name: string, message: string | RegExp, body: Json][] = [
    ["no messages", "messages: at least one message is required", request({ messages: [] })],
    [
      "an assistant opening",
      'messages: first message must use the "user" role',
      talk(["assistant", "Hi"], ["user", "Hi"]),
    ],
    [
      "a system opening",
      "messages.0: use the top-level 'system' parameter for the initial system prompt",
      talk(["system", "Be kind"], ["user", "Hi"]),
    ],
    [
      "an empty message",
      "messages.0: all messages must have non-empty content except for the optional final assistant message",
      talk(["user", ""]),
    ],
    ["an empty list of blocks", /^messages\.0: all messages must have non-empty content/, talk(["user", []])],
    [
      "an empty system message",
      "messages.1: system content must contain at least one block",
      talk(["user", "Hi"], ["system", []]),
    ],
    ["an empty text block", "messages: text content blocks must be non-empty", content({ type: "text", text: "" })],
    [
      "a blank text block",
      "messages: text content blocks must contain non-whitespace text",
      content({ type: "text", text: " \n" }),
    ],
    [
      "an empty text block in the system prompt",
      "system: text content blocks must be non-empty",
      request({ system: [{ type: "text", text: "" }] }),
    ],

    [
      "too many tokens",
      "max_tokens: 128001 > 128000, which is the maximum allowed number of output tokens for claude-opus-5-5",
      request({ max_tokens: 128_001 }),
    ],
    [
      "too many tokens for an alias",
      /^max_tokens: 64001 > 64000, .* claude-haiku-4-5-20251001$/,
      request({ ...early, max_tokens: 64_001 }),
    ],
    ["a warm-up that streams", /^max_tokens: 0 .* stream$/, request({ max_tokens: 0, stream: true })],
    ["a warm-up with a format", /^max_tokens: 0 .* output_config.format$/, { ...format(closed({})), max_tokens: 0 }],
    [
      "a warm-up that forces a tool",
      /^max_tokens: 0 .* tool_choice of type any$/,
      { ...tools(tool()), model: "claude-opus-5", max_tokens: 0, tool_choice: { type: "any" } },
    ],
    [
      "a budget as large as the answer",
      "`max_tokens` must be greater than `thinking.budget_tokens`.",
      request({ ...early, ...enabled }),
    ],
    [
      "a budget on a model without",
      '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.',
      request({ max_tokens: 4096, ...enabled }),
    ],
    [
      "disabled thinking where it is always on",
      '"thinking.type.disabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.',
      request(thinking("disabled")),
    ],
    [
      "disabled thinking on Sonnet 5.5",
      /^To turn thinking off on this model, send "thinking": \{"type": "between_tools"\}/,
      request({ model: "claude-sonnet-5-5", ...thinking("disabled") }),
    ],
    [
      "adaptive thinking on an early model",
      "adaptive thinking is not supported on this model",
      request({ ...early, ...thinking("adaptive") }),
    ],
    [
      "thinking between tools on another model",
      /^"thinking.type.between_tools" is not supported/,
      request(thinking("between_tools")),
    ],
    [
      "disabled thinking with much effort",
      /^"thinking.type.disabled" is not supported with "output_config.effort" 'max'$/,
      request({ model: "claude-opus-5", ...thinking("disabled"), output_config: { effort: "max" } }),
    ],
    [
      "effort on a model without",
      "This model does not support the effort parameter.",
      request({ ...early, output_config: { effort: "low" } }),
    ],
    [
      "an effort level the model lacks",
      "output_config.effort: This model does not support effort level 'xhigh'. Supported levels: 'low', 'medium', 'high' or 'max'",
      request({ model: "claude-opus-4-6", output_config: { effort: "xhigh" } }),
    ],
    [
      "a blank stop sequence",
      "stop_sequences: each stop sequence must contain non-whitespace",
      request({ stop_sequences: ["x", " "] }),
    ],

    ["two tools of one name", "tools: Tool names must be unique.", tools(tool(), tool())],
    [
      "a tool with a toolset's name",
      "tools: Tool names must be unique.",
      tools(tool({ name: "browser" }), { type: "browser_toolset_20260801" }),
    ],
    [
      "alternatives at the top of a schema",
      "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level",
      schema({ type: "object", anyOf: [] }),
    ],
    [
      "only deferred tools",
      "tools: At least one tool must have defer_loading=false.",
      tools(tool({ defer_loading: true })),
    ],
    [
      "a deferred tool that is cached",
      "tools.0.custom: Tools with defer_loading=true cannot use cache_control",
      tools(tool({ defer_loading: true, cache_control: ephemeral }), tool({ name: "b" })),
    ],
    [
      "21 strict tools",
      "tools: At most 20 tools can have strict=true. Found 21.",
      tools(...Array.from({ length: 21 }, (_, i) => tool({ name: `t${i}`, strict: true, input_schema: closed({}) }))),
    ],
    [
      "allowed and blocked domains",
      /^tools\.0\.web_search_20250305: Only one of/,
      tools({
        type: "web_search_20250305",
        name: "web_search",
        allowed_domains: ["a.com"],
        blocked_domains: ["b.com"],
      }),
    ],
    [
      "a URL source that is no tool",
      "tools.0.web_fetch_20260318.url_sources: Tool 'x' not found in provided tools",
      tools({
        type: "web_fetch_20260318",
        name: "web_fetch",
        url_sources: { client_tool_results: { type: "only", tools: [{ type: "tool_reference", name: "x" }] } },
      }),
    ],
    [
      "a toolset with a deferred member",
      "tools.0.computer_toolset_20260801.configs: defer_loading must be the same for every enabled member",
      tools({ type: "computer_toolset_20260801", configs: { zoom: { defer_loading: true } } }, tool()),
    ],
    [
      "a tool choice without tools",
      "tool_choice may only be specified while providing tools.",
      request({ tool_choice: { type: "auto" } }),
    ],
    [
      "a choice of an unknown tool",
      "tool_choice: Tool 'nope' not found in provided tools",
      { ...tools(tool()), model: "claude-opus-5", tool_choice: { type: "tool", name: "nope" } },
    ],
    [
      "a forced tool where that is not supported",
      'tool_choice: type "tool" and "any" are not supported for this model.',
      { ...tools(tool()), tool_choice: { type: "any" } },
    ],
    [
      "a forced tool with a thinking budget",
      "Thinking may not be enabled when tool_choice forces tool use.",
      { ...tools(tool()), ...early, max_tokens: 4096, ...enabled, tool_choice: { type: "any" } },
    ],

    [
      "an open object in a format",
      "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
      format({ type: "object" }),
    ],
    [
      "a bound in a format",
      "output_config.format.schema: For 'integer' type, properties maximum, minimum are not supported",
      format(closed({ n: { type: "integer", minimum: 1, maximum: 2 } })),
    ],
    [
      "a length in a strict tool",
      "tools.0.custom.input_schema: For 'string' type, property maxLength is not supported",
      strict(closed({ s: { type: "string", maxLength: 5 } })),
    ],
    [
      "two items in a format",
      /'minItems' values other than 0 or 1/,
      format({ type: "array", minItems: 2, items: { type: "string" } }),
    ],
    [
      "an unknown string format",
      "output_config.format.schema: String format 'phone' is not supported",
      format({ type: "string", format: "phone" }),
    ],
    [
      "a recursive format",
      /^output_config\.format\.schema: Recursive schemas are not supported/,
      format(closed({ child: { $ref: "#" } })),
    ],
    [
      "a reference into nowhere",
      "output_config.format.schema: $ref '#/$defs/x' leads nowhere",
      format({ $ref: "#/$defs/x" }),
    ],
    ["a reference elsewhere", /External \$ref/, format({ $ref: "https://example.com/schema" })],
    ["oneOf in a format", "output_config.format.schema: oneOf not supported", format({ oneOf: [] })],
    [
      "25 optional parameters",
      /25 optional parameters/,
      format(closed(Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`p${i}`, { type: "string" }])))),
    ],
    [
      "17 unions",
      /17 parameters with union types/,
      format(closed(Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`p${i}`, { type: ["string", "null"] }])))),
    ],

    ["five breakpoints", "A maximum of 4 blocks with cache_control may be provided. Found 5.", cached(5)],
    [
      "four breakpoints and the automatic one",
      /Found 5\.$/,
      {
        ...content(...Array.from({ length: 4 }, () => text({ cache_control: ephemeral })), text()),
        cache_control: ephemeral,
      },
    ],
    [
      "a long life after a short one",
      "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`.",
      content(text({ cache_control: ephemeral }), text({ cache_control: { ...ephemeral, ttl: "1h" } })),
    ],
    [
      "an automatic breakpoint that contradicts",
      /^cache_control: the last block already has cache_control with ttl='5m'/,
      { ...cached(1), cache_control: { ...ephemeral, ttl: "1h" } },
    ],

    [
      "citations on some documents",
      "messages: citations must be enabled on all or none of the document blocks",
      content(document(true), document(false)),
    ],
    [
      "citations and a format",
      "citations cannot be used together with output_config.format",
      { ...content(document(true), text()), ...format(closed({})), messages: content(document(true)).messages },
    ],
    [
      "citations on a user's text",
      "messages.0.content.0.text.citations: citations can only be in `assistant` messages",
      content(
        text({
          citations: [
            { type: "web_search_result_location", cited_text: "a", encrypted_index: "b", title: null, url: "c" },
          ],
        }),
      ),
    ],

    ["a tool call by the user", "messages.0: `tool_use` blocks can only be in `assistant` messages", content(use("a"))],
    [
      "thinking by the user",
      "messages.0: `thinking` blocks can only be in `assistant` messages",
      content({ type: "thinking", thinking: "a", signature: signThinking("a") }),
    ],
    [
      "a server tool result by the user",
      /`web_search_tool_result` blocks can only be in `assistant` messages/,
      content({ type: "web_search_tool_result", tool_use_id: "srvtoolu_1", content: [] }),
    ],
    [
      "a tool result by the assistant",
      "messages.1: `tool_result` blocks can only be in `user` messages",
      talk(["user", "Hi"], ["assistant", [result("a")]]),
    ],
    [
      "a document by the assistant",
      "messages.1: `document` blocks can only be in `user` messages",
      talk(["user", "Hi"], ["assistant", [document(false)]], ["user", "Hi"]),
    ],

    [
      "a system message on a model without",
      "messages.1: role 'system' is not supported on this model",
      { ...talk(["user", "Hi"], ["system", "Be kind"]), model: "claude-opus-4-7" },
    ],
    [
      "a system message between user messages",
      "messages.1: role 'system' must precede an 'assistant' message or end the array",
      talk(["user", "Hi"], ["system", "Be kind"], ["user", "Hi"]),
    ],
    [
      "a system message after an answer",
      /^messages\.2: role 'system' must follow a 'user' message/,
      talk(["user", "Hi"], ["assistant", "Hi"], ["system", "Be kind"]),
    ],

    [
      "a prefill",
      "This model does not support assistant message prefill. The conversation must end with a user message.",
      talk(["user", "Hi"], ["assistant", "Well"]),
    ],
    [
      "a prefill with thinking",
      /^messages\.1\.content\.0\.type: Expected `thinking` or `redacted_thinking`, but found `text`/,
      { ...talk(["user", "Hi"], ["assistant", "Well"]), ...early, max_tokens: 4096, ...enabled },
    ],
    [
      "a prefill that ends in a space",
      "messages: final assistant content cannot end with trailing whitespace",
      { ...talk(["user", "Hi"], ["assistant", "Well "]), ...early },
    ],
    [
      "a prefill with a format",
      /^Prefilling assistant messages is not supported/,
      { ...format(closed({})), ...early, messages: talk(["user", "Hi"], ["assistant", "Well"]).messages },
    ],

    [
      "an invented signature",
      "messages.1.content.0: Invalid `signature` in `thinking` block",
      talk(
        ["user", "Hi"],
        ["assistant", [{ type: "thinking", thinking: "a", signature: "c2lnbmF0dXJl" }, text()]],
        ["user", "Hi"],
      ),
    ],
    [
      "an altered signature",
      /Invalid `signature`/,
      talk(
        ["user", "Hi"],
        [
          "assistant",
          [{ type: "thinking", thinking: "a", signature: `${signThinking("a").slice(0, -4)}AAA=` }, text()],
        ],
        ["user", "Hi"],
      ),
    ],
    [
      "edited thinking",
      "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response.",
      talk(
        ["user", "Hi"],
        ["assistant", [{ type: "thinking", thinking: "b", signature: signThinking("a") }, text()]],
        ["user", "Hi"],
      ),
    ],
    [
      "edited thinking of an earlier turn",
      "messages.1.content.0: Invalid `signature` in `thinking` block",
      talk(
        ["user", "Hi"],
        ["assistant", [{ type: "thinking", thinking: "b", signature: signThinking("a") }, text()]],
        ["user", "Hi"],
        ["assistant", "Hi"],
        ["user", "Hi"],
      ),
    ],
    [
      "invented redacted thinking",
      "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
      talk(["user", "Hi"], ["assistant", [{ type: "redacted_thinking", data: "AAAA" }, text()]], ["user", "Hi"]),
    ],

    [
      "a call without a result",
      "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: a, b. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
      talk(["user", "Hi"], ["assistant", [use("a"), use("b")]], ["user", "Hi"]),
    ],
    [
      "a call with a result too few",
      /immediately after: b\./,
      talk(["user", "Hi"], ["assistant", [use("a"), use("b")]], ["user", [result("a")]]),
    ],
    [
      "a result after text",
      /immediately after: a\./,
      talk(["user", "Hi"], ["assistant", [use("a")]], ["user", [text(), result("a")]]),
    ],
    [
      "a call at the end",
      /^messages\.1: `tool_use` ids were found without/,
      talk(["user", "Hi"], ["assistant", [use("a")]]),
    ],
    [
      "a result without a call",
      "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: a. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
      content(result("a")),
    ],
    [
      "a result of an earlier call",
      /^messages\.4\.content\.0: unexpected `tool_use_id`/,
      talk(
        ["user", "Hi"],
        ["assistant", [use("a")]],
        ["user", [result("a")]],
        ["assistant", "Hi"],
        ["user", [result("a")]],
      ),
    ],
    [
      "two results for a call",
      "messages.2.content.1: each tool_use must have a single result. Found multiple `tool_result` blocks with id: a",
      talk(["user", "Hi"], ["assistant", [use("a")]], ["user", [result("a"), result("a")]]),
    ],
    [
      "two calls with one id",
      "messages: `tool_use` ids must be unique",
      talk(["user", "Hi"], ["assistant", [use("a"), use("a")]], ["user", [result("a")]]),
    ],
    [
      "a reference to an unknown tool",
      "messages.2.content.0: Tool reference 'x' not found in available tools",
      talk(
        ["user", "Hi"],
        ["assistant", [use("a")]],
        ["user", [result("a", { content: [{ type: "tool_reference", tool_name: "x" }] })]],
      ),
    ],
    [
      "a server tool call without a result",
      "`web_search` tool use with id `srvtoolu_1` was found without a corresponding `web_search_tool_result` block",
      talk(["user", "Hi"], ["assistant", [search("srvtoolu_1"), text()]], ["user", "Hi"]),
    ],
    [
      "a paused turn without its tool",
      /but no `web_search` tool was provided$/,
      talk(["user", "Hi"], ["assistant", [search("srvtoolu_1")]]),
    ],
    [
      "a server tool result without a call",
      /^messages\.1\.content\.0: unexpected `tool_use_id` found in `web_search_tool_result` blocks: srvtoolu_1\./,
      talk(["user", "Hi"], ["assistant", [{ type: "web_search_tool_result", tool_use_id: "srvtoolu_1", content: [] }]]),
    ],

    [
      "a member's result without its toolset",
      "messages.2.content.0.tool_result.toolset_name: toolset_name must be 'browser', as in its `tool_use` block",
      {
        ...browserResult([]),
        messages: talk(
          ["user", "Hi"],
          ["assistant", [use("a", { name: "screenshot", toolset_name: "browser" })]],
          ["user", [result("a")]],
        ).messages,
      },
    ],
    [
      "a document in a member's result",
      /`document` blocks are not allowed in a browser result/,
      browserResult([document(false)]),
    ],
    ["two browser states", /at most one `browser_state` block/, browserResult([state(), state()])],
    ["a browser state in an error", /at most one `browser_state` block/, browserResult([state()], { is_error: true })],
    [
      "no active tab",
      "messages.2.content.0.tool_result.content.tabs: exactly one tab must be active",
      browserResult([state({ tabs: [{ tab_id: "1", title: "", url: "" }] })]),
    ],
    [
      "a new tab that is not there",
      /tab '9' is not in tabs/,
      browserResult([state({ state_changes: [{ type: "tab_opened", tab_id: "9" }] })]),
    ],
    [
      "a download that changes twice",
      /at most one state change for a download_id/,
      browserResult([
        state({
          state_changes: [
            { type: "download_started", download_id: "d", url: "u" },
            { type: "download_failed", download_id: "d", url: "u" },
          ],
        }),
      ]),
    ],
    [
      "a prompt beyond the context window",
      /^prompt is too long: \d+ tokens > 200000 maximum$/,
      { ...ask("word ".repeat(200_000)), ...early },
    ],
  ];
  for (const [name, message, body] of rows) {
    test(`${name} is refused`, async () => {
      const response = await post(simulator, body);
      assert.equal(response.status, 400, await response.clone().text());
      const error = await refusal(response);
      assert.equal(error.type, "invalid_request_error");
      if (typeof message === "string") assert.equal(error.message, message);
      else assert.match(error.message, message);
    });
  }
});
