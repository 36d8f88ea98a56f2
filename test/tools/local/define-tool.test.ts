import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { z } from "zod";
import { defineTool } from "../../../src/tools/local/define-tool.ts";
import { type ToolContext, ToolError, type ToolResult } from "../../../src/tools/tool.ts";
import { toolContext } from "../mcp/source.ts";

const input = z.strictObject({
  order: z.object({ lines: z.array(z.object({ sku: z.string(), count: z.int().min(1) })) }),
  note: z.string().default("none").describe("For the packers."),
});

interface Call {
  readonly input: z.output<typeof input>;
  readonly context: ToolContext;
}

/** A tool, and the calls that got to it. */
function orderTool(result: string | ToolResult = "ordered") {
  const calls: Call[] = [];
  const tool = defineTool({
    name: "order",
    description: "Orders.",
    input,
    sideEffect: "mutating",
    run(given, context) {
      calls.push({ input: given, context });
      return result;
    },
  });
  return { tool, calls };
}

test("a tool has what it was defined with, and limits where none were given", () => {
  const { tool } = orderTool();
  assert.deepEqual(
    [tool.name, tool.description, tool.sideEffect, tool.requiresApproval, tool.timeoutMs, tool.maxConcurrency],
    ["order", "Orders.", "mutating", false, 10_000, 16],
  );
  const { requiresApproval, timeoutMs, maxConcurrency } = defineTool({
    name: "x",
    description: "",
    input: z.object({}),
    sideEffect: "none",
    requiresApproval: true,
    timeoutMs: 5,
    maxConcurrency: 1,
    run: () => "",
  });
  assert.deepEqual([requiresApproval, timeoutMs, maxConcurrency], [true, 5, 1]);
});

test("its schema tells Claude what to write: what has a default need not be written", () => {
  const schema = JSON.parse(orderTool().tool.inputSchemaJson) as Record<string, unknown>;
  assert.equal(schema.type, "object");
  assert.deepEqual(schema.required, ["order"]);
  assert.equal(schema.additionalProperties, false);
  assert.deepEqual((schema.properties as Record<string, unknown>).note, {
    description: "For the packers.",
    type: "string",
    default: "none",
  });
  assert.equal(orderTool().tool.inputSchemaJson, orderTool().tool.inputSchemaJson);
});

test("it runs with its arguments, their defaults, and the context of the call", async () => {
  const { tool, calls } = orderTool();
  const context = toolContext();
  const lines = [{ sku: "a", count: 2 }];
  assert.deepEqual(await tool.call(JSON.stringify({ order: { lines } }), context), { content: "ordered" });
  assert.deepEqual(calls, [{ input: { order: { lines }, note: "none" }, context }]);
});

test("it can return a whole result", async () => {
  const result = { content: [{ type: "text" as const, text: "sold out" }], isError: true };
  assert.deepEqual(await orderTool(result).tool.call('{"order":{"lines":[]}}', toolContext()), result);
});

const invalid: readonly [input: string, message: RegExp][] = [
  ["{", /^the arguments are no JSON object$/],
  ["", /^the arguments are no JSON object$/],
  ["[]", /expected object, received array/],
  ["{}", /^order: Invalid input/],
  ['{"order":{"lines":[]},"extra":1}', /Unrecognized key: "extra"/],
  ['{"order":{"lines":[{"sku":"a","count":1},{"sku":"a","count":0}]}}', /^order\.lines\[1\]\.count: Too small/],
  ['{"order":{"lines":[{"sku":1}]},"note":2}', /^order\.lines\[0\]\.sku: .*; order\.lines\[0\]\.count: .*; note: /],
];
for (const [text, message] of invalid) {
  test(`arguments ${JSON.stringify(text)} are refused by their path, and the tool does not run`, async () => {
    const { tool, calls } = orderTool();
    await assert.rejects(tool.call(text, toolContext()), (error) => {
      assert.ok(error instanceof ToolError);
      assert.equal(error.code, Code.InvalidArgument);
      assert.match(error.message, message);
      return true;
    });
    assert.deepEqual(calls, []);
  });
}
