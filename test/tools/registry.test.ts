import assert from "node:assert/strict";
import { test } from "node:test";
import { ToolRegistry } from "../../src/tools/registry.ts";
import type { Tool, ToolSource } from "../../src/tools/tool.ts";

function tool(name: string, description = ""): Tool {
  return {
    name,
    description,
    inputSchemaJson: '{"type":"object"}',
    sideEffect: "none",
    requiresApproval: false,
    timeoutMs: 1_000,
    maxConcurrency: 1,
    call: async () => ({ content: description }),
  };
}

/** A source whose tools can be replaced. */
class ChangingSource implements ToolSource {
  tools: readonly Tool[];
  readonly #close: () => Promise<void>;

  constructor(tools: readonly Tool[], close: () => Promise<void> = async () => {}) {
    this.tools = tools;
    this.#close = close;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close();
  }
}

const names = (registry: ToolRegistry) => registry.list().map(({ name }) => name);

test("tools are in the order of their names, whatever source they are from", async () => {
  const sources = [
    new ChangingSource([tool("b"), tool("a_z")]),
    new ChangingSource([tool("a-z"), tool("B"), tool("a")]),
  ];
  await using registry = new ToolRegistry(sources);
  assert.deepEqual(names(registry), ["B", "a", "a-z", "a_z", "b"]);
  await using reversed = new ToolRegistry(sources.toReversed());
  assert.deepEqual(names(reversed), names(registry));
});

test("of two tools with one name, that of the earlier source counts", async () => {
  await using registry = new ToolRegistry([
    new ChangingSource([tool("other")]),
    new ChangingSource([tool("same", "first")]),
    new ChangingSource([tool("same", "second"), tool("third")]),
  ]);
  assert.deepEqual(names(registry), ["other", "same", "third"]);
  assert.equal(registry.find("same")?.description, "first");
  assert.equal(registry.list().find(({ name }) => name === "same")?.description, "first");
});

test("a tool of a source that changes is found as long as it is there", async () => {
  const source = new ChangingSource([]);
  await using registry = new ToolRegistry([source, new ChangingSource([tool("kept", "of the other")])]);
  assert.equal(registry.find("new"), undefined);
  assert.deepEqual(names(registry), ["kept"]);

  source.tools = [tool("new"), tool("kept", "of the first")];
  assert.equal(registry.find("new"), source.tools[0]);
  assert.deepEqual(names(registry), ["kept", "new"]);
  assert.equal(registry.find("kept")?.description, "of the first");

  source.tools = [];
  assert.equal(registry.find("new"), undefined);
  assert.equal(registry.find("kept")?.description, "of the other");
});

test("without sources there are no tools", async () => {
  await using registry = new ToolRegistry([]);
  assert.deepEqual(registry.list(), []);
  assert.equal(registry.find("any"), undefined);
});

test("all sources are closed at the same time, also when one of them cannot be", async () => {
  const closing: string[] = [];
  const first = Promise.withResolvers<void>();
  const registry = new ToolRegistry([
    new ChangingSource([], async () => {
      closing.push("first");
      await first.promise;
    }),
    new ChangingSource([], async () => {
      closing.push("second");
      first.resolve();
      throw new Error("cannot be closed");
    }),
  ]);
  await registry[Symbol.asyncDispose]();
  assert.deepEqual(closing, ["first", "second"]);
});
