import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Code } from "@connectrpc/connect";
import type { ToolResult } from "../../../src/tools/tool.ts";
import { freePort } from "../../support/free-port.ts";
import { contextOf, jsonOf, openTools, startService, type TestService, toolError } from "./service.ts";

const stock = { sku: "TENT-2P", name: "Tent for two", levels: [{ warehouseId: "north", available: 4, reserved: 1 }] };
const handlers = { GetStock: () => stock };
const input = '{"sku":"TENT-2P"}';
const reserve = JSON.stringify({ orderId: "o-1", lines: [{ sku: "TENT-2P", warehouseId: "north", quantity: 2 }] });

describe("the connection to a service", { concurrency: true, timeout: 60_000 }, () => {
  test("that is not there makes calls fail, without the address", async () => {
    const port = await freePort();
    await using tools = openTools(`127.0.0.1:${port}`);
    for (const [name, json] of [
      ["inventory_get_stock", input],
      ["inventory_reserve_items", reserve],
    ] as const) {
      const error = await toolError(tools.tool(name).call(json, contextOf()));
      assert.equal(error.code, Code.Unavailable);
      assert.equal(error.message, "UNAVAILABLE: the service cannot be reached");
    }
  });

  test("is made when the service comes, although it was not there before", async () => {
    const port = await freePort();
    await using tools = openTools(`127.0.0.1:${port}`);
    const tool = tools.tool("inventory_get_stock");
    await toolError(tool.call(input, contextOf()));
    await using _service = await startService(handlers, { port });
    assert.deepEqual(await untilAnswered(() => tool.call(input, contextOf())), stock);
  });

  test("is made again when the service has been restarted, and what was in progress is an error", async () => {
    const first = await startService({ ...handlers, ReserveItems: () => new Promise<never>(() => {}) });
    await using tools = openTools(first.address);
    const tool = tools.tool("inventory_get_stock");
    assert.deepEqual(jsonOf(await tool.call(input, contextOf())), stock);
    const broken = toolError(tools.tool("inventory_reserve_items").call(reserve, contextOf()));
    await nextOf(first, "ReserveItems");
    await first[Symbol.asyncDispose]();
    const error = await broken;
    assert.equal(error.code, Code.Unavailable);
    assert.equal(
      error.message,
      "UNAVAILABLE: the connection to the service broke off: the call may or may not have taken effect",
    );

    await using _second = await startService(handlers, { port: first.port });
    assert.deepEqual(await untilAnswered(() => tool.call(input, contextOf())), stock);
  });

  test("is not made through the proxy of the environment", async (t) => {
    const before = { ...process.env };
    t.after(() => {
      process.env = before;
    });
    process.env.http_proxy = "http://127.0.0.1:1";
    await using service = await startService(handlers);
    await using tools = openTools(service.address);
    assert.deepEqual(jsonOf(await tools.tool("inventory_get_stock").call(input, contextOf())), stock);
  });

  test("is one for all calls of a service entry", async () => {
    await using service = await startService(handlers);
    await using tools = openTools(service.address);
    const tool = tools.tool("inventory_get_stock");
    await Promise.all(Array.from({ length: 50 }, () => tool.call(input, contextOf())));
    assert.equal(service.calls.length, 50);
    assert.equal(new Set(service.calls.map(({ peer }) => peer)).size, 1);
  });
});

async function nextOf(service: TestService, method: string): Promise<void> {
  while ((await service.nextCall()).method !== method);
}

/** Calls until there is an answer: a service that was away is tried again after a while only. */
async function untilAnswered(call: () => Promise<ToolResult>): Promise<unknown> {
  for (;;) {
    try {
      return jsonOf(await call());
    } catch (error) {
      if ((error as { code?: unknown }).code !== Code.Unavailable) throw error;
    }
  }
}
