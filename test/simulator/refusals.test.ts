import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createSimulator, type Simulator, signThinking } from "../../src/simulator/simulator.ts";
import { HEADERS, type Json, post, refusal, request } from "./client.ts";
import { content, early, ephemeral, result, schema, talk, text, tool, tools, use } from "./request-samples.ts";

let simulator: Simulator;
before(async () => {
  simulator = await createSimulator({ pacing: "instant", acceptedKeys: ["test-key"] });
});
after(() => simulator[Symbol.asyncDispose]());

describe("headers and bodies", () => {
  const { authorization: _key, ...withoutKey } = HEADERS;
  const { "anthropic-version": _version, ...withoutVersion } = HEADERS;
  const good = JSON.stringify(request());
  const rows: [
    name: string,
    headers: Record<string, string>,
    body: string | Uint8Array,
    status: number,
    type: string,
    message: RegExp,
  ][] = [
    ["no key", withoutKey, good, 401, "authentication_error", /^x-api-key header is required$/],
    [
      "a wrong bearer token",
      { ...HEADERS, authorization: "Bearer no" },
      good,
      401,
      "authentication_error",
      /^Invalid bearer token$/,
    ],
    ["a wrong key", { ...withoutKey, "x-api-key": "no" }, good, 401, "authentication_error", /^invalid x-api-key$/],
    ["no version", withoutVersion, good, 400, "invalid_request_error", /^anthropic-version: header is required$/],
    [
      "an old version",
      { ...HEADERS, "anthropic-version": "2023-06-01" },
      good,
      400,
      "invalid_request_error",
      /^anthropic-version: "2023-06-01" is not a valid version$/,
    ],
    [
      "another content type",
      { ...HEADERS, "content-type": "text/plain" },
      good,
      400,
      "invalid_request_error",
      /^content-type: /,
    ],
    ["no JSON", HEADERS, "{", 400, "invalid_request_error", /^The request body is not valid JSON/],
    ["a list", HEADERS, "[]", 400, "invalid_request_error", /must be a JSON object/],
    ["no UTF-8", HEADERS, Buffer.from([0x22, 0xff, 0x22]), 400, "invalid_request_error", /not UTF-8/],
    [
      "a body over 32 MB",
      HEADERS,
      "x".repeat(32 * 1024 * 1024 + 1),
      413,
      "invalid_request_error",
      /^Request exceeds the maximum size$/,
    ],
    [
      "an unknown encoding",
      { ...HEADERS, "content-encoding": "br" },
      good,
      400,
      "invalid_request_error",
      /content-encoding: 'br'/,
    ],
    ["broken gzip", { ...HEADERS, "content-encoding": "gzip" }, good, 400, "invalid_request_error", /not valid gzip/],
  ];
  for (const [name, headers, body, status, type, message] of rows) {
    test(`${name} is refused`, async () => {
      const response = await fetch(`${simulator.url}/v1/messages`, { method: "POST", headers, body: body as string });
      assert.equal(response.status, status);
      const error = await refusal(response);
      assert.equal(error.type, type);
      assert.match(error.message, message);
    });
  }

  test("encoding errors carry their code", async () => {
    const headers = { ...HEADERS, "content-encoding": "br" };
    const response = await fetch(`${simulator.url}/v1/messages`, { method: "POST", headers, body: good });
    assert.deepEqual((await refusal(response)).details, { error_code: "request_body_encoding_unsupported" });
  });

  test("an unknown path is 404 and a known path with another method is 405", async () => {
    const missing = await fetch(`${simulator.url}/v1/complete`, { method: "POST" });
    assert.equal(missing.status, 404);
    assert.equal((await refusal(missing)).type, "not_found_error");
    const wrong = await fetch(`${simulator.url}/v1/messages`, { headers: HEADERS });
    assert.equal(wrong.status, 405);
    assert.equal(wrong.headers.get("allow"), "POST");
    await refusal(wrong);
  });

  test("a body nested beyond reason is refused and does not stop the server", async () => {
    const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
    const body = `{"model":"claude-opus-5-5","max_tokens":1,"tools":[{"name":"a","input_schema":{"type":"object","x":${deep}}}],"messages":[{"role":"user","content":"hi"}]}`;
    const response = await fetch(`${simulator.url}/v1/messages`, { method: "POST", headers: HEADERS, body });
    assert.equal(response.status, 400);
    assert.match((await refusal(response)).message, /nested too deeply/);
  });
});

describe("what a schema can tell", () => {
  const rows: [message: string, body: Json][] = [
    ["model: Field required", request({ model: undefined })],
    ["max_tokens: Field required", request({ max_tokens: undefined })],
    ["messages: Field required", request({ messages: undefined })],
    ["temperature: Extra inputs are not permitted", request({ temperature: 1 })],
    ["thread: Extra inputs are not permitted", request({ thread: { type: "create" } })],
    ["messages.0.foo: Extra inputs are not permitted", request({ messages: [{ role: "user", content: "a", foo: 1 }] })],
    ["max_tokens: Input should be a valid integer", request({ max_tokens: "many" })],
    ["max_tokens: Input should be a valid integer", request({ max_tokens: 1.5 })],
    ["max_tokens: Input should be greater than or equal to 0", request({ max_tokens: -1 })],
    ["stream: Input should be a valid boolean", request({ stream: "yes" })],
    ["messages: Input should be a valid array", request({ messages: "Hi" })],
    ["messages.0: Input should be an object", request({ messages: ["Hi"] })],
    ["messages.0.role: Field required", request({ messages: [{ content: "Hi" }] })],
    [
      "messages.0.role: Input should be 'user', 'assistant' or 'system'",
      request({ messages: [{ role: "constructor", content: "Hi" }] }),
    ],
    ["messages.0.content: Input should be a valid array", request({ messages: [{ role: "user", content: 5 }] })],
    ["messages.0.content.0.type: Field required", content({ text: "Hi" })],
    ["messages.0.content.0.text.text: Field required", content({ type: "text" })],
    ["messages.0.content.0.text.colour: Extra inputs are not permitted", content(text({ colour: 1 }))],
    [
      "messages.0.content.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
      content(text({ cache_control: { ...ephemeral, ttl: "2h" } })),
    ],
    [
      "messages.0.content.0.text.cache_control.ephemeral.scope: Extra inputs are not permitted",
      content(text({ cache_control: { ...ephemeral, scope: "global" } })),
    ],
    [
      "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'",
      content({ type: "image", source: { type: "base64", media_type: "image/bmp", data: "AAAA" } }),
    ],
    [
      "messages.0.content.0.image.source.base64.data: Input should be valid base64",
      content({ type: "image", source: { type: "base64", media_type: "image/png", data: "not base64" } }),
    ],
    [
      "messages.0.content.0.tool_result.content.0.image.source: Field required",
      content(result("a", { content: [{ type: "image" }] })),
    ],
    [
      "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted",
      talk(
        ["user", "Hi"],
        ["assistant", [{ type: "thinking", thinking: "", signature: signThinking(""), cache_control: ephemeral }]],
      ),
    ],
    [
      "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
      talk(["user", "Hi"], ["assistant", [use("a b")]]),
    ],
    [
      "messages.1.content.0.type: Input should be 'text'",
      talk(["user", "Hi"], ["system", [{ type: "image", text: "a" }]]),
    ],
    ["system.0.text: Field required", request({ system: [{ type: "text" }] })],
    [
      "metadata.user_id: String should have at most 256 characters",
      request({ metadata: { user_id: "x".repeat(257) } }),
    ],
    ["service_tier: Input should be 'auto' or 'standard_only'", request({ service_tier: "fast" })],
    [
      "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
      request({ ...early, thinking: { type: "enabled", budget_tokens: 100 } }),
    ],
    [
      "thinking.between_tools.display: Extra inputs are not permitted",
      request({ model: "claude-sonnet-5-5", thinking: { type: "between_tools", display: "omitted" } }),
    ],
    [
      "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
      request({ output_config: { effort: "extreme" } }),
    ],
    ["tool_choice: Input should be an object", request({ tool_choice: "auto" })],
    ["tool_choice.tool.name: Field required", request({ tool_choice: { type: "tool" } })],
    ["tools.0.custom.input_schema: Field required", tools({ name: "a" })],
    ["tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'", tools(tool({ name: "get weather" }))],
    ["tools.0.custom.name: String should have at most 128 characters", tools(tool({ name: "a".repeat(129) }))],
    ["tools.0.custom.input_schema.type: Field required", schema({})],
    ["tools.0.custom.input_schema.type: Input should be 'object'", schema({ type: "array" })],
    [
      "tools.0.custom.input_schema.required: Input should be a valid array",
      schema({ type: "object", required: "city" }),
    ],
    ["tools.0.custom.display_width_px: Extra inputs are not permitted", tools(tool({ display_width_px: 100 }))],
    ["tools.0.bash_20250124.name: Input should be 'bash'", tools({ type: "bash_20250124", name: "sh" })],
    [
      "tools.0.computer_toolset_20260801.name: Extra inputs are not permitted",
      tools({ type: "computer_toolset_20260801", name: "computer" }),
    ],
    [
      "tools.0.browser_toolset_20260801.configs.fly: Extra inputs are not permitted",
      tools({ type: "browser_toolset_20260801", configs: { fly: {} } }),
    ],
  ];
  for (const [message, body] of rows) {
    test(message, async () => {
      const response = await post(simulator, body);
      assert.equal(response.status, 400);
      assert.deepEqual(await refusal(response), { type: "invalid_request_error", message });
    });
  }

  test("an unknown kind of block or tool names the known ones", async () => {
    const block = await refusal(await post(simulator, content({ type: "hologram" })));
    assert.match(
      block.message,
      /^messages\.0\.content\.0: Input tag 'hologram' found using 'type' does not match any of the expected tags: 'text', 'image', /,
    );
    const unknown = await refusal(await post(simulator, tools({ type: "hammer", name: "hammer" })));
    assert.match(unknown.message, /^tools\.0: Input tag 'hammer' .*'bash_20250124'/);
  });

  test("members named like JavaScript's own are unknown like any other", async () => {
    const headers = HEADERS;
    const body = JSON.stringify(request()).replace("{", '{"__proto__":{"x":1},');
    const response = await fetch(`${simulator.url}/v1/messages`, { method: "POST", headers, body });
    assert.equal((await refusal(response)).message, "__proto__: Extra inputs are not permitted");
  });
});

describe("models", () => {
  for (const model of ["claude-2", "claude-opus-4-1-20250805", "claude-opus-4-1"]) {
    test(`${model} is not found`, async () => {
      const response = await post(simulator, request({ model }));
      assert.equal(response.status, 404);
      assert.deepEqual(await refusal(response), { type: "not_found_error", message: `model: ${model}` });
    });
  }
});

describe("counting tokens", () => {
  const { max_tokens: _maxTokens, ...countable } = request();
  test("takes no members that are for messages only", async () => {
    const response = await post(simulator, request(), "/v1/messages/count_tokens");
    assert.equal((await refusal(response)).message, "max_tokens: Extra inputs are not permitted");
  });
  test("has the rules of messages", async () => {
    const body = { ...countable, tools: [tool()], tool_choice: { type: "any" } };
    const response = await post(simulator, body, "/v1/messages/count_tokens");
    assert.match((await refusal(response)).message, /^tool_choice: type "tool" and "any" are not supported/);
  });
});
