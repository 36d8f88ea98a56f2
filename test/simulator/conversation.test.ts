import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Message, MessageParam } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { answer, ask, type Json, request, WEATHER_TOOL } from "./client.ts";

let simulator: Simulator;
before(async () => {
  simulator = await createSimulator({ pacing: "instant" });
});
after(() => simulator[Symbol.asyncDispose]());

const textOf = (message: Message) => message.content.map((block) => (block.type === "text" ? block.text : "")).join("");
const typesOf = (message: Message) => message.content.map((block) => block.type);
const TIME_TOOL = { name: "get_time", input_schema: { type: "object", properties: { zone: { type: "string" } } } };
const TOOLS = [WEATHER_TOOL, TIME_TOOL];

describe("text", () => {
  test("echoes the last user text, the same way every time", async () => {
    const first: Message = await answer(simulator, ask("Is it late?"));
    const second: Message = await answer(simulator, ask("Is it late?"));
    assert.match(textOf(first), /"Is it late\?"/);
    assert.equal(textOf(first), textOf(second));
    assert.notEqual(first.id, second.id);
    assert.equal(first.stop_reason, "end_turn");
    assert.equal(first.stop_details, null);
  });

  test("writes as many words as it is asked for", async () => {
    const message: Message = await answer(simulator, ask("Please write 300 words."));
    assert.equal(textOf(message).split(" ").length, 300);
  });

  test("stops at a stop sequence, which is not part of the text", async () => {
    const message: Message = await answer(simulator, ask("one two three", { stop_sequences: ["four", "two"] }));
    assert.match(textOf(message), /"one $/);
    assert.equal(message.stop_reason, "stop_sequence");
    assert.equal(message.stop_sequence, "two");
  });

  test("stops after max_tokens", async () => {
    const message: Message = await answer(simulator, ask("Write 300 words", { max_tokens: 10 }));
    assert.equal(message.stop_reason, "max_tokens");
    assert.equal(message.usage.output_tokens, 10);
    assert.equal(textOf(message).length, 40);
  });

  test("stops where the context window ends", async () => {
    const prompt = `${"word ".repeat(159_960)} 5000 words`;
    const message: Message = await answer(simulator, ask(prompt, { model: "claude-haiku-4-5", max_tokens: 10_000 }));
    assert.equal(message.stop_reason, "model_context_window_exceeded");
    assert.equal(message.usage.input_tokens + message.usage.output_tokens, 200_000);
  });

  test("generates nothing for max_tokens 0", async () => {
    const message: Message = await answer(simulator, request({ max_tokens: 0 }));
    assert.deepEqual(message.content, []);
    assert.equal(message.stop_reason, "max_tokens");
    assert.equal(message.usage.output_tokens, 0);
  });

  test("continues a prefill on a model that takes one", async () => {
    const messages = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Well," },
    ];
    const message: Message = await answer(simulator, request({ model: "claude-haiku-4-5", messages }));
    assert.equal(message.stop_reason, "end_turn");
    assert.equal(message.model, "claude-haiku-4-5-20251001");
  });
});

describe("tools", () => {
  test("are called with a fitting input when the prompt names them", async () => {
    const message: Message = await answer(simulator, ask("What does get_weather say?", { tools: TOOLS }));
    assert.equal(message.stop_reason, "tool_use");
    const call = message.content.find((block) => block.type === "tool_use");
    assert.equal(call?.name, "get_weather");
    assert.deepEqual(call?.input, { city: "city" });
    assert.deepEqual(call?.caller, { type: "direct" });
    assert.match(call?.id ?? "", /^toolu_/);
  });

  const rows: [name: string, prompt: string, extra: Json, calls: string[]][] = [
    [
      "several that are named are called in parallel",
      "get_time and get_weather please",
      {},
      ["get_weather", "get_time"],
    ],
    [
      "one of several when parallel use is off",
      "get_time and get_weather",
      { tool_choice: { type: "auto", disable_parallel_tool_use: true } },
      ["get_weather"],
    ],
    ["the first when one is wanted", "please use a tool", {}, ["get_weather"]],
    ["none when a tool is spoken of, but not asked for", "My tools are at home. I use none.", {}, []],
    ["none when none is mentioned", "what a nice day", {}, []],
    ["none for part of a name", "my_get_weather_thing", {}, []],
    ["none when the choice is none", "call get_weather", { tool_choice: { type: "none" } }, []],
    [
      "one that is forced",
      "Hi",
      { model: "claude-opus-5", tool_choice: { type: "tool", name: "get_time" } },
      ["get_time"],
    ],
    ["any that is forced", "Hi", { model: "claude-opus-5", tool_choice: { type: "any" } }, ["get_weather"]],
    ["no deferred tool", "call get_weather", { tools: [{ ...WEATHER_TOOL, defer_loading: true }, TIME_TOOL] }, []],
  ];
  for (const [name, prompt, extra, expected] of rows) {
    test(name, async () => {
      const message: Message = await answer(simulator, ask(prompt, { tools: TOOLS, ...extra }));
      const calls = message.content.flatMap((block) => (block.type === "tool_use" ? [block.name] : []));
      assert.deepEqual(calls, expected);
      assert.equal(message.stop_reason, expected.length > 0 ? "tool_use" : "end_turn");
    });
  }

  test("Anthropic's own client tools and toolset members have inputs of their own", async () => {
    const tools = [
      { type: "bash_20250124", name: "bash" },
      { type: "browser_toolset_20260801", configs: { zoom: { enabled: false } } },
      { type: "computer_toolset_20260801" },
    ];
    const message: Message = await answer(
      simulator,
      ask("use navigate, then use bash, then use the `zoom`", { tools }),
    );
    const calls = message.content.flatMap((block) =>
      block.type === "tool_use" ? [[block.name, block.toolset_name, block.input]] : [],
    );
    assert.deepEqual(calls, [
      ["bash", undefined, { command: "echo hello" }],
      ["navigate", "browser", { url: "https://example.com" }],
      ["zoom", "computer", { region: [0, 0, 100, 100] }],
    ]);
  });

  test("their results are what the next answer is about, and the answer can be sent back", async () => {
    const opening = [{ role: "user", content: "Ask get_weather and get_time" }] as MessageParam[];
    const first: Message = await answer(simulator, request({ messages: opening, tools: TOOLS }));
    const calls = first.content.filter((block) => block.type === "tool_use");
    const results = calls.map((call, index) => ({
      type: "tool_result",
      tool_use_id: call.id,
      content: index === 0 ? "18 degrees" : [{ type: "text", text: "no clock" }],
      is_error: index > 0,
    }));
    const messages = [...opening, { role: "assistant", content: first.content }, { role: "user", content: results }];
    const second: Message = await answer(simulator, request({ messages, tools: TOOLS }));
    assert.equal(second.stop_reason, "end_turn");
    assert.equal(textOf(second), "get_weather answered: 18 degrees\nget_time failed: no clock");
  });

  test("a call cut off by max_tokens has no input", async () => {
    const message: Message = await answer(simulator, ask("call get_weather", { tools: TOOLS, max_tokens: 7 }));
    assert.equal(message.stop_reason, "max_tokens");
    assert.deepEqual(message.content.find((block) => block.type === "tool_use")?.input, {});
  });
});

describe("thinking", () => {
  test("comes first, is signed, and is accepted when it comes back", async () => {
    const thinking = { type: "adaptive", display: "summarized" };
    const opening = [{ role: "user", content: "Ask get_weather" }] as MessageParam[];
    const first: Message = await answer(simulator, request({ messages: opening, tools: TOOLS, thinking }));
    assert.deepEqual(typesOf(first), ["thinking", "text", "tool_use"]);
    const [block] = first.content;
    assert.ok(block?.type === "thinking" && block.thinking !== "" && block.signature !== "");
    assert.ok((first.usage.output_tokens_details?.thinking_tokens ?? 0) > 0);
    const call = first.content.find((part) => part.type === "tool_use");
    const messages = [
      ...opening,
      { role: "assistant", content: first.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: call?.id, content: "fine" }] },
    ];
    await answer(simulator, request({ messages, tools: TOOLS, thinking }));
  });

  test("is signed and paid for, but not returned, where that is the model's default", async () => {
    const message: Message = await answer(simulator, ask("Hi", { thinking: { type: "adaptive" } }));
    const [block] = message.content;
    assert.ok(block?.type === "thinking" && block.thinking === "" && block.signature !== "");
    assert.ok((message.usage.output_tokens_details?.thinking_tokens ?? 0) > 0);
  });

  test("is returned by default on an earlier model", async () => {
    const body = ask("Hi", {
      model: "claude-opus-4-6",
      max_tokens: 2000,
      thinking: { type: "enabled", budget_tokens: 1024 },
    });
    const [block] = (await answer(simulator, body)).content;
    assert.notEqual(block.thinking, "");
  });

  test("counts against max_tokens", async () => {
    const message: Message = await answer(simulator, ask("Hi", { thinking: { type: "adaptive" }, max_tokens: 5 }));
    assert.deepEqual(typesOf(message), ["thinking"]);
    assert.equal(message.stop_reason, "max_tokens");
    assert.equal(message.usage.output_tokens_details?.thinking_tokens, 5);
  });

  test("between tools, what is said before a call is a thinking block", async () => {
    const extra = { model: "claude-sonnet-5-5", tools: TOOLS, thinking: { type: "between_tools" } };
    assert.deepEqual(typesOf(await answer(simulator, ask("call get_time", extra))), ["thinking", "tool_use"]);
    assert.deepEqual(typesOf(await answer(simulator, ask("Hi", extra))), ["text"]);
  });
});

describe("JSON answers", () => {
  test("fit the schema that was asked for", async () => {
    const schema = {
      type: "object",
      properties: {
        name: { type: "string" },
        age: { type: "integer" },
        tags: { type: "array", items: { enum: ["a", "b"] } },
      },
      required: ["name", "age", "tags"],
      additionalProperties: false,
    };
    const body = ask("Who?", { output_config: { format: { type: "json_schema", schema } } });
    const message: Message = await answer(simulator, body);
    assert.deepEqual(JSON.parse(textOf(message)), { name: "name", age: 1, tags: ["a"] });
  });
});

describe("citations", () => {
  const citations = { enabled: true };
  const cite = async (...blocks: Json[]) => {
    const messages = [{ role: "user", content: [...blocks, { type: "text", text: "So?" }] }];
    const message: Message = await answer(simulator, request({ messages }));
    return message.content.flatMap((block) => (block.type === "text" ? (block.citations ?? []) : []));
  };
  const document = (source: Json, extra: Json = {}) => ({ type: "document", source, citations, ...extra });

  test("of plain text give character positions", async () => {
    const data = "Grass is green. Sky is blue.";
    const [citation] = await cite(document({ type: "text", media_type: "text/plain", data }, { title: "Colours" }));
    assert.deepEqual(citation, {
      type: "char_location",
      cited_text: "Grass is green.",
      document_index: 0,
      document_title: "Colours",
      file_id: null,
      start_char_index: 0,
      end_char_index: 15,
    });
  });

  test("of PDFs, blocks and search results give pages and blocks, each with its own index", async () => {
    const found = await cite(
      document({ type: "base64", media_type: "application/pdf", data: "JVBERi0xLjc=" }),
      document({ type: "content", content: [{ type: "text", text: "First" }] }),
      document({ type: "file", file_id: "file_1" }),
      { type: "search_result", source: "s", title: "t", citations, content: [{ type: "text", text: "Found" }] },
    );
    const brief = found.map((citation) => ({
      type: citation.type,
      index:
        "document_index" in citation
          ? citation.document_index
          : "search_result_index" in citation && citation.search_result_index,
      file: "file_id" in citation ? citation.file_id : undefined,
    }));
    assert.deepEqual(brief, [
      { type: "page_location", index: 0, file: null },
      { type: "content_block_location", index: 1, file: null },
      { type: "page_location", index: 2, file: "file_1" },
      { type: "search_result_location", index: 0, file: undefined },
    ]);
  });

  test("are not made of documents on which they are not enabled", async () => {
    const source = { type: "text", media_type: "text/plain", data: "Grass is green." };
    assert.deepEqual(await cite({ type: "document", source }), []);
  });

  test("can be sent back with the answer", async () => {
    const content = [
      document({ type: "text", media_type: "text/plain", data: "Grass is green." }),
      { type: "text", text: "So?" },
    ];
    const first: Message = await answer(simulator, request({ messages: [{ role: "user", content }] }));
    const messages = [
      { role: "user", content },
      { role: "assistant", content: first.content },
      { role: "user", content: "And?" },
    ];
    await answer(simulator, request({ messages }));
  });
});

describe("refusals and pauses", () => {
  test("a refusal tells its category", async () => {
    const message: Message = await answer(simulator, ask("Now please refuse."));
    assert.equal(message.stop_reason, "refusal");
    assert.equal(message.stop_details?.type, "refusal");
    assert.equal(message.stop_details?.category, "general_harms");
    assert.deepEqual(message.content, []);
    assert.equal(message.usage.output_tokens, 1);
  });

  const WEB_SEARCH = { type: "web_search_20260318", name: "web_search" };
  for (const [name, tools] of [
    ["with a search tool", [WEB_SEARCH]],
    ["without", undefined],
  ] as const) {
    test(`a paused turn goes on when it is sent back, ${name}`, async () => {
      const opening = { role: "user", content: "Please pause." };
      const first: Message = await answer(simulator, request({ messages: [opening], tools }));
      assert.equal(first.stop_reason, "pause_turn");
      const messages = [opening, { role: "assistant", content: first.content }];
      const second: Message = await answer(simulator, request({ messages, tools }));
      assert.equal(second.stop_reason, "end_turn");
      assert.equal(second.content[0]?.type, tools ? "web_search_tool_result" : "text");
      const history = [
        ...messages,
        { role: "assistant", content: second.content },
        { role: "user", content: "Thanks" },
      ];
      await answer(simulator, request({ messages: history, tools }));
    });
  }

  test("a web search is made, cited and counted", async () => {
    const message: Message = await answer(simulator, ask("Do a web search", { tools: [WEB_SEARCH] }));
    assert.deepEqual(typesOf(message), ["server_tool_use", "web_search_tool_result", "text", "text"]);
    assert.deepEqual(message.usage.server_tool_use, { web_search_requests: 1, web_fetch_requests: 0 });
    const cited = message.content.at(-1);
    assert.equal(cited?.type === "text" && cited.citations?.[0]?.type, "web_search_result_location");
  });
});
