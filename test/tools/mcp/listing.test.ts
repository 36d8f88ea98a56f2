import assert from "node:assert/strict";
import { test } from "node:test";
import { type McpServerOptions, plainTool, startMcpServer } from "../../support/mcp-server.ts";
import { type McpSettings, startSource } from "./source.ts";

/** What should end but does not fails. */
const PATIENCE = { timeout: 30_000 };

/** The tools that come of those of a server, and the problems that were told. */
async function listed(tools: readonly object[], settings: McpSettings = {}, options: McpServerOptions = {}) {
  await using server = await startMcpServer({ tools, ...options });
  await using source = startSource({ url: server.url, ...settings });
  await source.listed();
  return { tools: source.source.tools, problems: source.problems.map(({ message }) => message) };
}

test("tools are named after their server, with the characters that Claude allows", PATIENCE, async () => {
  const names = ["plain", "with.dot", "with/slash and space", "ümlaut", "UPPER-case_9", "x".repeat(200)];
  const { tools, problems } = await listed(
    names.map((name) => plainTool(name)),
    { name: "My-server" },
  );
  assert.deepEqual(
    tools.map(({ name }) => name),
    [
      "My-server__plain",
      "My-server__with_dot",
      "My-server__with_slash_and_space",
      "My-server___mlaut",
      "My-server__UPPER-case_9",
      `My-server__${"x".repeat(128 - "My-server__".length)}`,
    ],
  );
  assert.deepEqual(problems, []);
});

test("of two tools with the same name for Claude the later is left out, and told", PATIENCE, async () => {
  const { tools, problems } = await listed([plainTool("a.b"), plainTool("a_b"), plainTool("a b")]);
  assert.deepEqual(
    tools.map(({ name, description }) => [name, description]),
    [["test__a_b", "does a.b"]],
  );
  assert.deepEqual(problems, [
    'the tool "a_b" is left out: another one is called test__a_b as well',
    'the tool "a b" is left out: another one is called test__a_b as well',
  ]);
});

const unusable: Record<string, { readonly tool: unknown; readonly problem: RegExp }> = {
  "without a name": { tool: { inputSchema: { type: "object" } }, problem: /it has no name/ },
  "with an empty name": { tool: plainTool(""), problem: /it has no name/ },
  "without a schema": { tool: { name: "bad" }, problem: /"bad" is left out: its input schema/ },
  "with a schema of a text": {
    tool: plainTool("bad", { inputSchema: { type: "string" } }),
    problem: /its input schema/,
  },
  "with a schema that is a list": { tool: plainTool("bad", { inputSchema: [] }), problem: /its input schema/ },
  "with a schema that Claude refuses": {
    tool: plainTool("bad", { inputSchema: { type: "object", anyOf: [{ required: ["a"] }] } }),
    problem: /has anyOf at the top level/,
  },
  "that runs as a task only": {
    tool: plainTool("bad", { execution: { taskSupport: "required" } }),
    problem: /only be called as a task/,
  },
  "that is null": { tool: null, problem: /it has no name/ },
  "that is a number": { tool: 5, problem: /it has no name/ },
};
for (const [name, { tool, problem }] of Object.entries(unusable)) {
  test(`a tool ${name} is left out and told, and the others remain`, PATIENCE, async () => {
    const { tools, problems } = await listed([plainTool("one"), tool as object, plainTool("two")]);
    assert.deepEqual(
      tools.map((each) => each.name),
      ["test__one", "test__two"],
    );
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? "", problem);
  });
}

test("the schema keeps the order of its members, and its unknown ones", PATIENCE, async () => {
  const inputSchema = {
    properties: { z: { type: "integer", "x-unit": "m" }, a: { $ref: "#/$defs/a" } },
    $defs: { a: { type: "string" } },
    type: "object",
    required: ["z"],
    additionalProperties: false,
  };
  const { tools } = await listed([plainTool("work", { inputSchema })]);
  assert.equal(tools[0]?.inputSchemaJson, JSON.stringify(inputSchema));
});

const hints: readonly [annotations: object | undefined, expected: string][] = [
  [undefined, "unknown"],
  [{}, "unknown"],
  [{ title: "Work" }, "unknown"],
  [{ openWorldHint: true }, "unknown"],
  [{ readOnlyHint: true }, "none"],
  [{ readOnlyHint: true, destructiveHint: true }, "none"],
  [{ idempotentHint: true }, "idempotent"],
  [{ readOnlyHint: false, idempotentHint: true, destructiveHint: true }, "idempotent"],
  [{ readOnlyHint: false }, "mutating"],
  [{ destructiveHint: true }, "mutating"],
  [{ destructiveHint: false }, "mutating"],
  [{ readOnlyHint: "true" }, "unknown"],
];
test("what a tool may change is taken from its hints", PATIENCE, async () => {
  const { tools } = await listed(hints.map(([annotations], index) => plainTool(`t${index}`, { annotations })));
  assert.deepEqual(
    tools.map(({ sideEffect }) => sideEffect),
    hints.map(([, expected]) => expected),
  );
});

test("descriptions are those of the server, or its titles", PATIENCE, async () => {
  const given = [
    plainTool("a"),
    plainTool("b", { description: undefined, title: "B!" }),
    plainTool("c", { description: undefined }),
  ];
  const { tools } = await listed(given);
  assert.deepEqual(
    tools.map(({ description }) => description),
    ["does a", "B!", ""],
  );
});

test("only tools that are allowed are there, by the names that the server has for them", PATIENCE, async () => {
  const { tools, problems } = await listed([plainTool("a.b"), plainTool("c"), plainTool("d")], {
    tools: ["a.b", "d", "e"],
  });
  assert.deepEqual(
    tools.map(({ name }) => name),
    ["test__a_b", "test__d"],
  );
  assert.deepEqual(problems, ['it has no tool "e", which the configuration names']);
});

test("an empty list of allowed tools allows none", PATIENCE, async () => {
  assert.deepEqual((await listed([plainTool("a")], { tools: [] })).tools, []);
});

test(
  "the tools that the configuration names require approval, or all, and a name that is wrong is told",
  PATIENCE,
  async () => {
    const some = await listed([plainTool("a"), plainTool("b")], { approval: ["b", "typo"] });
    assert.deepEqual(
      some.tools.map(({ requiresApproval }) => requiresApproval),
      [false, true],
    );
    assert.deepEqual(some.problems, ['it has no tool "typo", which the configuration names']);
    const all = await listed([plainTool("a"), plainTool("b")], { approval: ["*"] });
    assert.deepEqual(
      all.tools.map(({ requiresApproval }) => requiresApproval),
      [true, true],
    );
    assert.deepEqual(all.problems, []);
  },
);

test("limits of calls are those of the configuration", PATIENCE, async () => {
  const { tools } = await listed([plainTool("a")], { timeout: "7s", concurrency: 3 });
  assert.deepEqual([tools[0]?.timeoutMs, tools[0]?.maxConcurrency], [7_000, 3]);
});

/** A list in pages, by the cursor. */
function paged(page: (cursor: string | undefined) => object): McpServerOptions {
  return { answers: { "tools/list": ({ params }) => ({ result: page(params?.cursor as string | undefined) }) } };
}

test("a list in pages is read to its end", PATIENCE, async () => {
  const { tools, problems } = await listed(
    [],
    {},
    paged((cursor) => {
      if (cursor === undefined) return { tools: [plainTool("a")], nextCursor: "2" };
      if (cursor === "2") return { tools: [], nextCursor: "" };
      assert.equal(cursor, "");
      return { tools: [plainTool("b")] };
    }),
  );
  assert.deepEqual(
    tools.map(({ name }) => name),
    ["test__a", "test__b"],
  );
  assert.deepEqual(problems, []);
});

test("a list whose cursor comes back ends there", PATIENCE, async () => {
  let pages = 0;
  const { tools, problems } = await listed(
    [],
    {},
    paged(() => ({ tools: [plainTool(`t${++pages}`)], nextCursor: "again" })),
  );
  assert.equal(pages, 2);
  assert.equal(tools.length, 2);
  assert.match(problems[0] ?? "", /does not end/);
});

test("a list without an end is read for 100 pages", PATIENCE, async () => {
  let pages = 0;
  const { tools, problems } = await listed(
    [],
    {},
    paged(() => ({ tools: [plainTool(`t${++pages}`)], nextCursor: `${pages}` })),
  );
  assert.equal(pages, 100);
  assert.equal(tools.length, 100);
  assert.match(problems[0] ?? "", /does not end/);
});

test("of more than 1,000 tools the first 1,000 are used", PATIENCE, async () => {
  const many = Array.from({ length: 1_001 }, (_, index) => plainTool(`t${index}`));
  const { tools, problems } = await listed(many);
  assert.equal(tools.length, 1_000);
  assert.deepEqual(problems, ["it has more than 1000 tools, of which the first 1000 are used"]);
  assert.deepEqual((await listed(many.slice(1))).problems, []);
});

test("when the server says that its tools have changed, they are listed again", PATIENCE, async () => {
  await using server = await startMcpServer({ tools: [plainTool("old")] });
  await using source = startSource({ url: server.url });
  assert.deepEqual(await source.listed(), ["test__old"]);
  server.tools = [plainTool("new")];
  await server.push({ method: "notifications/tools/list_changed" });
  assert.deepEqual(await source.listed(2), ["test__new"]);
  assert.equal(server.received.filter(({ method }) => method === "initialize").length, 1);
});

test("tools of a server that tells nothing are listed again from time to time", PATIENCE, async () => {
  await using server = await startMcpServer({ tools: [plainTool("old")], streamStatus: 405 });
  await using source = startSource({ url: server.url, refresh: "100ms" });
  assert.deepEqual(await source.listed(), ["test__old"]);
  server.tools = [plainTool("new")];
  assert.deepEqual(await source.listed(2), ["test__new"]);
});

test("what is wrong with a list is told once, not each time that it is read", PATIENCE, async () => {
  await using server = await startMcpServer({ tools: [plainTool("a.b"), plainTool("a_b")] });
  await using source = startSource({ url: server.url, refresh: "100ms", tools: ["a.b", "a_b", "missing"] });
  await source.listed(2);
  assert.equal(source.problems.length, 2);
  server.tools = [plainTool("a.b")];
  await source.problem(/it has no tool "a_b"/);
  assert.equal(source.problems.length, 3);
});

for (const streamStatus of [404, 405, 500]) {
  test(`a server that answers ${streamStatus} to who asks for events can be used`, PATIENCE, async () => {
    await using server = await startMcpServer({ streamStatus });
    await using source = startSource({ url: server.url, refresh: "100ms" });
    await source.listed(2);
    assert.deepEqual(await source.call("work"), { content: "done" });
    assert.equal(server.received.filter(({ method }) => method === "initialize").length, 1);
    assert.deepEqual(source.problems, []);
  });
}

test("a server without tools is told", PATIENCE, async () => {
  const result = { protocolVersion: "2025-06-18", capabilities: {}, serverInfo: { name: "x", version: "1" } };
  await using server = await startMcpServer({ answers: { initialize: () => ({ result }) } });
  await using source = startSource({ url: server.url });
  await source.problem(/the server has no tools/);
});

test("a list that is none is told, and asked for again", PATIENCE, async () => {
  let lists = 0;
  await using server = await startMcpServer({
    answers: {
      "tools/list": () => (++lists === 1 ? { result: { tools: 5 } } : { result: { tools: [plainTool("a")] } }),
    },
  });
  await using source = startSource({ url: server.url });
  await source.problem(/there is no connection: .*tools must be an array/);
  assert.deepEqual(await source.listed(), ["test__a"]);
});
