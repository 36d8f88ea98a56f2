import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type {
  ContentBlockParam,
  MessageCreateParamsStreaming,
  MessageParam,
  Usage,
} from "@anthropic-ai/sdk/resources/messages";
import fc from "fast-check";
import { withCacheBreakpoints } from "../../src/agent/prompt-cache.ts";
import { createSimulator, type Simulator, signThinking } from "../../src/simulator/simulator.ts";
import { RawJson } from "../../src/upstream/raw-json.ts";
import { post } from "../simulator/client.ts";
import { stringifyExact } from "../support/json-text.ts";

const base = { model: "claude-sonnet-5-5", max_tokens: 100, stream: true } as const;
const hello: MessageParam = { role: "user", content: "hello" };
const tool = { name: "t", description: "d", input_schema: { type: "object" as const } };
const raw = (text: string) => new RawJson(text) as never;
const loop = { loop: true, minPrefixBytes: 0 };

function exact(params: object): Record<string, unknown> {
  return JSON.parse(stringifyExact(params)) as Record<string, unknown>;
}

/** Paths of everything that has a breakpoint. */
function breakpoints(value: unknown, path = ""): string[] {
  if (typeof value !== "object" || value === null) return [];
  const own = "cache_control" in value ? [path] : [];
  return [...own, ...Object.entries(value).flatMap(([name, part]) => breakpoints(part, `${path}/${name}`))];
}

function marks(params: object): string[] {
  return breakpoints(exact(withCacheBreakpoints({ ...base, messages: [hello], ...params }, loop)));
}

const result: MessageParam = {
  role: "user",
  content: [{ type: "tool_result", tool_use_id: "a", is_error: true }],
};
const call: MessageParam = { role: "assistant", content: [raw('{"type":"tool_use","id":"a","name":"t","input":{}}')] };
const paused: MessageParam = {
  role: "assistant",
  content: [raw('{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"x"}}')],
};

describe("prompt-cache breakpoints of a loop", () => {
  for (const [name, { params, at }] of Object.entries({
    "stand after a text": { params: {}, at: ["/messages/0/content/0"] },
    "stand after tools and system": {
      params: { tools: [tool, tool], system: "be kind" },
      at: ["/tools/1", "/system/0", "/messages/0/content/0"],
    },
    "stand after native tools, whose text stays": {
      params: { tools: [raw('{ "type":"web_search_20260318", "name":"web_search" }')] },
      at: ["/tools/0", "/messages/0/content/0"],
    },
    "are not on tools that are loaded later": {
      params: { tools: [tool, { ...tool, defer_loading: true }] },
      at: ["/tools/0", "/messages/0/content/0"],
    },
    "are not on tools that exact JSON defers": {
      params: { tools: [tool, { ...tool, defer_loading: raw("true") }] },
      at: ["/tools/0", "/messages/0/content/0"],
    },
    "stand in a tool that has nothing else": {
      params: { tools: [raw("{ }")] },
      at: ["/tools/0", "/messages/0/content/0"],
    },
    "stand once where the latest answer cannot have one": {
      params: {
        messages: [
          {
            role: "user",
            content: [
              { type: "text", text: "a" },
              { type: "text", text: "b" },
            ],
          },
          { role: "assistant", content: [raw('{"type":"thinking","thinking":"c","signature":"d"}')] },
        ],
      },
      at: ["/messages/0/content/1"],
    },
    "are not on toolsets whose members are loaded later": {
      params: {
        tools: [
          tool,
          raw('{"type":"computer_toolset_20260801","configs":{"zoom":{"defer_loading":true}}}'),
          raw('{"type":"mcp_toolset","mcp_server_name":"m","default_config":{"defer_loading":true}}'),
        ],
      },
      at: ["/tools/0", "/messages/0/content/0"],
    },
    "are not on blocks that have a word about it, though no breakpoint": {
      params: {
        system: [
          { type: "text", text: "a" },
          { type: "text", text: "b", cache_control: null },
        ],
      },
      at: ["/system/0", "/system/1", "/messages/0/content/0"],
    },
    "are not on kinds of content that Claude takes none on, nor on those that nobody knows": {
      params: {
        messages: [
          hello,
          { role: "assistant", content: [raw('{"type":"fallback","n":1}')] },
          { role: "user", content: [{ type: "text", text: "a" }, raw('{"type":"brand_new"}')] },
        ],
      },
      at: ["/messages/0/content/0", "/messages/2/content/0"],
    },
    "are not in messages without content": {
      params: { messages: [hello, { role: "assistant", content: "" }] },
      at: ["/messages/0/content/0"],
    },
    "stand after two paused answers": {
      params: { messages: [hello, paused, paused] },
      at: ["/messages/1/content/0", "/messages/2/content/0"],
    },
    "stand after the last message, and after the user's before it": {
      params: { messages: [hello, call, result] },
      at: ["/messages/0/content/0", "/messages/2/content/0"],
    },
    "stand after the two latest of many": {
      params: { messages: [hello, call, result, call, result] },
      at: ["/messages/2/content/0", "/messages/4/content/0"],
    },
    "stand after a paused answer": {
      params: { messages: [hello, { role: "assistant", content: [raw('{"type":"text","text":"Wait."}')] }] },
      at: ["/messages/0/content/0", "/messages/1/content/0"],
    },
    "are not on thinking or empty text": {
      params: {
        messages: [
          hello,
          {
            role: "assistant",
            content: [raw('{"type":"text","text":"a"}'), raw('{"type":"thinking","thinking":"b","signature":"c"}')],
          },
        ],
        system: [
          { type: "text", text: "x" },
          { type: "text", text: "" },
        ],
      },
      at: ["/system/0", "/messages/0/content/0", "/messages/1/content/0"],
    },
  })) {
    test(name, () => assert.deepEqual(marks(params).sort(), at.toSorted()));
  }

  const own = { cache_control: { type: "ephemeral" } };
  for (const [name, params] of Object.entries({
    "of the whole": own,
    "of a tool": { tools: [{ ...tool, ...own }] },
    "of a native tool": { tools: [raw('{"type":"x","name":"y","cache_control":{"type":"ephemeral"}}')] },
    "of the system prompt": { system: [{ type: "text", text: "x", ...own }] },
    "of a message": { messages: [{ role: "user", content: [{ type: "text", text: "x", ...own }] }] },
    "whose name has escapes": {
      tools: [raw(String.raw`{"type":"x","name":"y","\u0063ache_control":{"type":"ephemeral"}}`)],
    },
    "in a part of a block that is exact JSON": {
      system: [{ type: "text", text: "x", cache_control: raw('{"type":"ephemeral"}') }],
    },
    "inside of a document in a tool result": {
      messages: [
        {
          role: "user",
          content: [
            {
              type: "tool_result",
              tool_use_id: "a",
              content: [
                { type: "document", source: { type: "content", content: [{ type: "text", text: "x", ...own }] } },
              ],
            },
          ],
        },
      ],
    },
    "inside of a tool result": {
      messages: [
        {
          role: "user",
          content: [{ type: "tool_result", tool_use_id: "a", content: [{ type: "text", text: "x", ...own }] }],
        },
      ],
    },
  })) {
    test(`are not set beside the request's own ${name}`, () => {
      const whole = { ...base, messages: [hello], ...params } as MessageCreateParamsStreaming;
      assert.equal(withCacheBreakpoints(whole, loop), whole);
    });
  }

  test("are set beside arguments and schemas that have a member of that name", () => {
    const properties = { cache_control: { type: "object" } };
    const input = raw('{"type":"tool_use","id":"a","name":"t","input":{"cache_control":{}}}');
    const params = {
      tools: [{ ...tool, input_schema: { type: "object", properties } }],
      messages: [hello, { role: "assistant", content: [input] }],
    };
    assert.deepEqual(marks(params), [
      "/messages/0/content/0",
      "/messages/1/content/0",
      "/messages/1/content/0/input",
      "/tools/0",
      "/tools/0/input_schema/properties",
    ]);
  });

  test("are added to exact JSON without another change", () => {
    const text = '{ "type":"web_search_20260318", "name":"web_search" ,"max_uses":1.0 }\n';
    const { tools = [] } = withCacheBreakpoints({ ...base, messages: [hello], tools: [raw(text)] }, loop);
    assert.equal(stringifyExact(tools[0]), text.replace("}", ',"cache_control":{"type":"ephemeral"}}'));
  });

  test("are not set where tools or the system prompt are exact JSON as a whole", () => {
    for (const member of [{ tools: raw("[]") }, { system: raw("[]") }]) {
      const whole: MessageCreateParamsStreaming = { ...base, messages: [hello], ...member };
      assert.equal(withCacheBreakpoints(whole, loop), whole);
    }
  });

  test("change nothing in the request that they are set for", () => {
    const deepFreeze = <T extends object>(value: T): T => {
      for (const part of Object.values(value)) if (typeof part === "object" && part !== null) deepFreeze(part);
      return Object.freeze(value);
    };
    const params = deepFreeze({ ...base, system: "s", tools: [tool], messages: [hello, call, result] });
    assert.equal(breakpoints(exact(withCacheBreakpoints(params, loop))).length, 4);
    assert.deepEqual(breakpoints(exact(params)), []);
  });
});

describe("prompt-cache breakpoints of a single request", () => {
  const params = { ...base, messages: [hello], tools: [tool], system: "be kind" };
  test("stand after a long prefix, and not in the messages", () => {
    const marked = exact(withCacheBreakpoints(params, { loop: false, minPrefixBytes: 50 }));
    assert.deepEqual(breakpoints(marked), ["/tools/0", "/system/0"]);
  });
  test("count the bytes of tools as they are sent, and those of the text of the system prompt", () => {
    const tools = [
      raw('{ "name":"ä","input_schema":{"type":"object"} }'),
      { ...tool, input_schema: raw('{ "type":"object" }') },
    ];
    const minPrefixBytes = Buffer.byteLength(stringifyExact(tools)) + Buffer.byteLength("ö");
    const whole = { ...base, messages: [hello], tools, system: "ö" };
    assert.notEqual(withCacheBreakpoints(whole, { loop: false, minPrefixBytes }), whole);
    assert.equal(withCacheBreakpoints(whole, { loop: false, minPrefixBytes: minPrefixBytes + 1 }), whole);
  });

  test("are not set after a short one", () => {
    assert.equal(withCacheBreakpoints(params, { loop: false, minPrefixBytes: 500 }), params);
  });
});

describe("the turns of a loop", () => {
  const text = fc.string({ unit: "grapheme", minLength: 1 });
  const block = fc.oneof(
    text.map((value) => ({ type: "text", text: value })),
    text.map((value) => new RawJson(`{ "text":${JSON.stringify(value)} ,"type":"text","n":1.0 }`)),
    text.map((value) => ({ type: "thinking", thinking: value, signature: "s" })),
    text.map((value) => ({ type: "tool_result", tool_use_id: value })),
  );
  const content = fc.oneof(text, fc.array(block, { minLength: 1, maxLength: 3 }));
  const answers = fc.array(fc.record({ answer: content, results: fc.option(content, { nil: undefined }) }), {
    minLength: 1,
    maxLength: 5,
  });
  const prompt = fc.record({ system: fc.option(content, { nil: undefined }), question: content, answers });

  /** The requests of a loop. An answer without results has been paused. */
  const requests = prompt.map(({ system, question, answers }) => {
    const messages: object[] = [{ role: "user", content: question }];
    return [undefined, ...answers].map((step) => {
      if (step !== undefined) messages.push({ role: "assistant", content: step.answer });
      if (step?.results !== undefined) messages.push({ role: "user", content: step.results });
      const params = { ...base, ...(system !== undefined && { system }), tools: [tool], messages: [...messages] };
      return withCacheBreakpoints(params as unknown as MessageCreateParamsStreaming, loop);
    });
  });

  test("begin with the bytes of the turn before, but for the breakpoints", () => {
    fc.assert(
      fc.property(requests, (turns) => {
        const texts = turns.map(({ tools, system, messages }) =>
          [tools, system, messages].map((part) => unmarked(stringifyExact(part ?? null))),
        );
        for (const [index, [tools, system, messages = ""]] of texts.slice(1).entries()) {
          const [toolsBefore, systemBefore, messagesBefore = ""] = texts[index] ?? [];
          assert.equal(tools, toolsBefore);
          assert.equal(system, systemBefore);
          assert.equal(messages.slice(0, messagesBefore.length - 1), messagesBefore.slice(0, -1));
        }
      }),
    );
  });

  test("have at most four breakpoints, one of them where the turn before ended", () => {
    fc.assert(
      fc.property(requests, (turns) => {
        const all = turns.map((turn) => breakpoints(exact(turn)));
        for (const [index, found] of all.entries()) {
          assert.ok(found.length <= 4, found.join());
          const end = all[index - 1]?.at(-1);
          assert.ok(end === undefined || found.includes(end), `${end} is not among ${found.join()}`);
        }
      }),
    );
  });
});

function unmarked(text: string): string {
  return text.replaceAll(',"cache_control":{"type":"ephemeral"}', "");
}

describe("Claude", () => {
  let simulator: Simulator;
  before(async () => {
    simulator = await createSimulator({ pacing: "instant" });
  });
  after(() => simulator[Symbol.asyncDispose]());

  async function send(params: MessageCreateParamsStreaming): Promise<Usage> {
    const response = await post(simulator, exact({ ...params, stream: false }));
    const body = await response.text();
    assert.equal(response.status, 200, body);
    return (JSON.parse(body) as { usage: Usage }).usage;
  }

  const many = Array.from({ length: 40 }, (_, index) => ({ ...tool, name: `t${index}` }));
  const image: ContentBlockParam = {
    type: "image",
    source: { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" },
  };
  const thinking = raw(JSON.stringify({ type: "thinking", thinking: "hm", signature: signThinking("hm") }));
  const talk = (...contents: MessageParam["content"][]) =>
    contents.map((content, index) => ({ role: index % 2 === 0 ? "user" : "assistant", content }));
  const answered = (block: object) => ({ messages: [hello, call, { role: "user", content: [block] }] });

  for (const [name, [params, inLoop, alone]] of Object.entries<[params: object, inLoop: number, alone: number]>({
    "a text": [{}, 1, 0],
    "many tools": [{ tools: many }, 2, 1],
    "many tools, the last of which are loaded later": [
      { tools: many.map((one, index) => ({ ...one, defer_loading: index > 5 })) },
      2,
      1,
    ],
    "native tools": [
      {
        tools: [
          raw('{"type":"bash_20250124","name":"bash"}'),
          raw('{"type":"web_search_20260318","name":"web_search"}'),
        ],
      },
      2,
      1,
    ],
    "a toolset": [{ tools: [raw('{"type":"browser_toolset_20260801"}')] }, 2, 1],
    "a system prompt as text": [{ system: "be kind" }, 2, 1],
    "an empty system prompt": [{ system: "" }, 1, 0],
    "a system prompt in blocks": [
      {
        system: [
          { type: "text", text: "a" },
          { type: "text", text: "b" },
        ],
      },
      2,
      1,
    ],
    "tools, a system prompt and a conversation": [
      { tools: many, system: "be kind", messages: talk("a", "b", "c", "d", "e") },
      4,
      2,
    ],
    "thinking at the end of the latest answer": [
      { messages: talk("a", [{ type: "text", text: "b" }, thinking], "c") },
      2,
      0,
    ],
    "an answer that is only thinking": [{ messages: talk("a", [thinking], "c") }, 2, 0],
    "an image": [{ messages: talk([image]) }, 1, 0],
    "a failed tool call": [answered({ type: "tool_result", tool_use_id: "a", is_error: true, content: "no" }), 2, 0],
    "a tool result without content": [answered({ type: "tool_result", tool_use_id: "a" }), 2, 0],
    "a tool result with empty content": [answered({ type: "tool_result", tool_use_id: "a", content: [] }), 2, 0],
    "a tool result with an image": [answered({ type: "tool_result", tool_use_id: "a", content: [image] }), 2, 0],
    "a paused answer": [
      { messages: [hello, paused], tools: [raw('{"type":"web_search_20260318","name":"web_search"}')] },
      3,
      1,
    ],
    "an instruction in mid-conversation": [{ messages: [hello, { role: "system", content: "Now in German" }] }, 1, 0],
    "the beginning of an answer": [{ model: "claude-haiku-4-5", messages: talk("a", "b") }, 2, 0],
    "the empty beginning of an answer": [{ model: "claude-haiku-4-5", messages: talk("a", "") }, 1, 0],
  })) {
    test(`takes the breakpoints after ${name}`, async () => {
      const whole = { ...base, messages: [hello], ...params } as MessageCreateParamsStreaming;
      for (const [kind, count] of [
        [loop, inLoop],
        [{ loop: false, minPrefixBytes: 0 }, alone],
      ] as const) {
        const marked = withCacheBreakpoints(whole, kind);
        await send(marked);
        assert.equal(breakpoints(exact(marked)).length, count);
      }
    });
  }

  /** More blocks than Claude looks back for what it has cached. */
  const PARALLEL_CALLS = 30;

  const callsOf = (turn: number) => Array.from({ length: PARALLEL_CALLS }, (_, index) => `toolu_${turn}_${index}`);
  const steps: Record<string, (turn: number) => MessageParam[]> = {
    "with many parallel calls": (turn) => [
      {
        role: "assistant",
        content: callsOf(turn).map((id) => raw(`{"type":"tool_use","id":"${id}","name":"t","input":{}}`)),
      },
      {
        role: "user",
        content: callsOf(turn).map((id) => ({
          type: "tool_result",
          tool_use_id: id,
          content: "much to say ".repeat(50),
        })),
      },
    ],
    "that is paused": (turn) => [
      {
        role: "assistant",
        content: callsOf(turn).flatMap((id) => [
          raw(`{"type":"server_tool_use","id":"srv${id}","name":"web_search","input":{"query":"x"}}`),
          raw(`{"type":"web_search_tool_result","tool_use_id":"srv${id}","content":[]}`),
        ]),
      },
    ],
  };
  for (const [name, step] of Object.entries(steps)) {
    test(`reads in each turn of a loop ${name} all that the turn before has cached`, async () => {
      const system = `You are a careful assistant who is ${name}. `.repeat(500);
      const messages: MessageParam[] = [hello];
      let cached = 0;
      for (let turn = 0; turn < 4; turn++) {
        const tools = [tool, raw('{"type":"web_search_20260318","name":"web_search"}')];
        const usage = await send(withCacheBreakpoints({ ...base, system, tools, messages: [...messages] }, loop));
        assert.equal(usage.cache_read_input_tokens, cached);
        assert.ok((usage.cache_creation_input_tokens ?? 0) > 0);
        cached += usage.cache_creation_input_tokens ?? 0;
        messages.push(...step(turn));
      }
    });
  }
});
