import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { INVENTORY_IMAGE, startInventoryService } from "../../../src/demo/inventory/inventory-service.ts";
import { contextOf, jsonOf, openTools, toolError } from "./service.ts";

const root = join(import.meta.dirname, "../../..");

interface Stock {
  readonly levels: readonly { readonly warehouseId: string; readonly available: number; readonly reserved: number }[];
}

const line = (sku: string, warehouseId: string, quantity: number) => ({ sku, warehouseId, quantity });
const order = (...lines: object[]) => JSON.stringify({ orderId: "o-1", lines });

describe("the inventory service of the demo", { concurrency: true, timeout: 60_000 }, () => {
  test("has the image that its proto compiles to", () => {
    const folder = mkdtempSync(join(tmpdir(), "parley-inventory-"));
    const run = (command: string, ...args: string[]) => {
      const { status, stderr } = spawnSync(command, args, { cwd: root, encoding: "utf8" });
      assert.equal(status, 0, stderr);
    };
    try {
      const imported = join(root, "node_modules/.protos/buf/validate/validate.proto");
      if (!existsSync(imported)) run(process.execPath, "test/scripts/third-party-protos.ts");
      const image = join(folder, "inventory.binpb");
      run("node_modules/.bin/buf", "build", "src/demo/inventory", "--exclude-imports", "-o", image);
      assert.deepEqual(readFileSync(image), readFileSync(INVENTORY_IMAGE));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("tells the stock, in one warehouse or in all", async () => {
    await using service = await startInventoryService();
    await using tools = openTools(service.address);
    const tool = tools.tool("inventory_get_stock");
    const all = jsonOf(await tool.call('{"sku":"TENT-2P"}', contextOf())) as Stock;
    assert.deepEqual(
      all.levels.map(({ warehouseId, available }) => [warehouseId, available]),
      [
        ["north", 4],
        ["middle", 12],
        ["south", 0],
      ],
    );
    const one = jsonOf(await tool.call('{"sku":"TENT-2P","warehouseId":"north"}', contextOf())) as Stock;
    assert.deepEqual(one.levels, all.levels.slice(0, 1));
    const missing = await toolError(tool.call('{"sku":"KAYAK"}', contextOf()));
    assert.equal(missing.message, "NOT_FOUND: there is no item KAYAK, but TENT-2P, STOVE-GAS, LAMP-LED, ROPE-60M");
    const nowhere = await toolError(tool.call('{"sku":"TENT-2P","warehouseId":"west"}', contextOf()));
    assert.equal(nowhere.message, "NOT_FOUND: there is no warehouse west, but north, middle, south");
  });

  test("lists warehouses by how fast they send", async () => {
    await using service = await startInventoryService();
    await using tools = openTools(service.address);
    const list = async (input: string) => {
      const result = await tools.tool("inventory_list_warehouses").call(input, contextOf());
      return (jsonOf(result) as { warehouses: { id: string }[] }).warehouses.map(({ id }) => id);
    };
    assert.deepEqual(await list("{}"), ["north", "middle", "south"]);
    assert.deepEqual(await list('{"shippingClass":"SHIPPING_CLASS_STANDARD"}'), ["south"]);
  });

  test("reserves all items of an order, or none", async () => {
    await using service = await startInventoryService();
    await using tools = openTools(service.address);
    const reserve = tools.tool("inventory_reserve_items");
    const input = order(line("LAMP-LED", "north", 2), line("TENT-2P", "north", 3), line("TENT-2P", "north", 2));
    const error = await toolError(reserve.call(input, contextOf()));
    assert.equal(error.code, Code.FailedPrecondition);
    assert.equal(error.message, "FAILED_PRECONDITION: north has only 1 of TENT-2P, not 2");
    const done = jsonOf(await reserve.call(order(line("TENT-2P", "north", 3)), contextOf()));
    assert.equal((done as { reservationId: string }).reservationId, "R-1");
    const levelOf = async (sku: string) => {
      const input = JSON.stringify({ sku, warehouseId: "north" });
      const result = await tools.tool("inventory_get_stock").call(input, contextOf());
      const [level] = (jsonOf(result) as Stock).levels;
      return [level?.available, level?.reserved];
    };
    assert.deepEqual(await levelOf("TENT-2P"), [1, 3]);
    assert.deepEqual(await levelOf("LAMP-LED"), [120, 0]);
  });

  test("tells of each change of the stock", async () => {
    await using service = await startInventoryService();
    await using tools = openTools(service.address);
    const begun = Promise.withResolvers<void>();
    const context = { ...contextOf(), progress: () => begun.resolve() };
    const watching = tools.tool("inventory_watch_stock").call('{"sku":"ROPE-60M","maxMessages":3}', context);
    await begun.promise;
    const reserve = tools.tool("inventory_reserve_items");
    await reserve.call(order(line("LAMP-LED", "middle", 1)), contextOf());
    await reserve.call(order(line("ROPE-60M", "middle", 1)), contextOf());
    await reserve.call(order(line("ROPE-60M", "middle", 2)), contextOf());
    const messages = jsonOf(await watching) as Stock[];
    assert.deepEqual(
      messages.map(({ levels }) => levels[1]?.available),
      [7, 6, 4],
    );
  });

  test("sells pieces while it is watched, where it is told to", async () => {
    await using service = await startInventoryService({ saleEveryMs: 5 });
    await using tools = openTools(service.address);
    const watching = tools.tool("inventory_watch_stock").call('{"sku":"TENT-2P","maxMessages":2}', contextOf());
    const [before, after] = jsonOf(await watching) as Stock[];
    assert.equal(Number(before?.levels[0]?.available) - 1, after?.levels[0]?.available);
  });

  test("refuses to watch what there is not", async () => {
    await using service = await startInventoryService();
    await using tools = openTools(service.address);
    const error = await toolError(tools.tool("inventory_watch_stock").call('{"sku":"KAYAK"}', contextOf()));
    assert.match(error.message, /^NOT_FOUND: there is no item KAYAK/);
  });

  test("takes its time with each of the calls that it gets side by side", async () => {
    await using service = await startInventoryService({ latencyMs: 50 });
    await using tools = openTools(service.address);
    const skus = ["TENT-2P", "STOVE-GAS", "LAMP-LED", "ROPE-60M"];
    const results = await Promise.all(
      skus.map((sku) => tools.tool("inventory_get_stock").call(JSON.stringify({ sku }), contextOf())),
    );
    assert.equal(results.length, 4);
  });
});
