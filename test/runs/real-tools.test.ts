import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { status } from "@grpc/grpc-js";
import { AgentService, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { ToolService } from "../../gen/parley/v1/tool_service_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { ask, assertGapless, calls, run, says, watch } from "../support/runs.ts";
import { type Service, startService } from "../support/service.ts";
import { grpcConfig, startService as startInventory, statusError } from "../tools/grpc/service.ts";
import { startSource } from "../tools/mcp/source.ts";

const STOCK = "inventory_get_stock";
const RESERVE = "inventory_reserve_items";

/** The service with the tools of a gRPC service. */
function startParley(address: string, steps: Script["steps"], settings = {}): Promise<Service> {
  const config = { tools: { grpc: [grpcConfig(address, settings)] } } as never;
  return startService({ config, script: { steps } });
}

const levels = { levels: [{ warehouseId: "north", available: 3 }] };

test("methods of a service are called side by side, and Claude gets their answers in the order of its calls", async () => {
  const all = Promise.withResolvers<void>();
  let begun = 0;
  await using inventory = await startInventory({
    async GetStock({ request }) {
      // No call is answered before all have come.
      if (++begun === 3) all.resolve();
      await all.promise;
      return { sku: (request as { sku: string }).sku, ...levels };
    },
  });
  const steps = [calls([STOCK, { sku: "A" }], [STOCK, { sku: "B" }], [STOCK, { sku: "C" }]), says("Three.")];
  await using service = await startParley(inventory.address, steps);
  const seen = await run(service, ask([STOCK]));
  assert.equal(seen.failure, undefined);
  assertGapless(seen.events);
  assert.equal(seen.text, "Three.");
  const sent = service.simulator.requests.at(-1)?.body as { messages: { content: { content: string }[] }[] };
  const results = sent.messages.at(-1)?.content.map(({ content }) => (JSON.parse(content) as { sku: string }).sku);
  assert.deepEqual(results, ["A", "B", "C"]);
});

test("a call carries the caller's headers, its name, the run, and less time than the run has left", async () => {
  await using inventory = await startInventory({ GetStock: () => ({ sku: "A", ...levels }) });
  const settings = { forwardHeaders: ["authorization"], timeout: "1h" };
  await using service = await startParley(inventory.address, [calls([STOCK, { sku: "A" }]), says("Done.")], settings);
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const headers = { authorization: "Bearer of the caller", traceparent, "x-request-id": "r-1", "x-other": "secret" };
  const stream = service.client(AgentService).runAgent(ask([STOCK]) as never, { headers, timeoutMs: 60_000 });
  const seen = await watch(stream);
  const { metadata } = await inventory.nextCall();
  const told = (name: string) => metadata.get(name)[0];
  assert.equal(told("authorization"), headers.authorization);
  assert.equal(told("x-request-id"), "r-1");
  assert.equal(told("x-other"), undefined);
  assert.equal(told("x-parley-caller"), "anonymous");
  assert.equal(told("x-parley-run-id"), seen.id);
  assert.equal(told("x-parley-tool-use-id"), `toolu_${STOCK}_0`);
  assert.match(String(told("traceparent")), /^00-4bf92f3577b34da6a3ce929d0e0e4736-/);
  const [started] = seen.of("toolCallStarted");
  // Of 60 s a fifth at most is held back for the last answer, 12 s: the call gets less than the rest.
  assert.ok((started?.timeout?.seconds ?? 100n) < 48n);
  assert.ok((started?.timeout?.seconds ?? 0n) > 20n);
});

test("an error of a service is told to Claude with its code, and the others are not touched", async () => {
  await using inventory = await startInventory({
    GetStock({ request }) {
      if ((request as { sku: string }).sku === "B") throw statusError(status.NOT_FOUND, "no such item");
      return { sku: "A", ...levels };
    },
  });
  const steps = [calls([STOCK, { sku: "A" }], [STOCK, { sku: "B" }], [STOCK, { sku: "not a sku" }]), says("One.")];
  await using service = await startParley(inventory.address, steps);
  const seen = await run(service, ask([STOCK]));
  const failures = new Map(
    seen.of("toolCallFinished").map(({ toolUseId, status, result }) => [toolUseId, { status, result }]),
  );
  assert.equal(failures.get(`toolu_${STOCK}_0`)?.status, undefined);
  const missing = failures.get(`toolu_${STOCK}_1`);
  assert.deepEqual([missing?.status?.code, missing?.result?.isError], [status.NOT_FOUND, true]);
  assert.match(missing?.result?.text ?? "", /NOT_FOUND.*no such item/);
  const refused = failures.get(`toolu_${STOCK}_2`);
  assert.equal(refused?.status?.code, status.INVALID_ARGUMENT);
  assert.match(refused?.result?.text ?? "", /sku/);
  assert.equal(inventory.calls.length, 2);
  assert.equal(seen.finished.run.state, RunState.SUCCEEDED);
});

test("a run that is cancelled cancels its calls at their services", async () => {
  await using inventory = await startInventory({ GetStock: () => new Promise(() => {}) });
  await using service = await startParley(inventory.address, [calls([STOCK, { sku: "A" }], [STOCK, { sku: "B" }])]);
  const running = run(service, ask([STOCK]));
  const first = await inventory.nextCall();
  const second = await inventory.nextCall();
  const client = service.client(AgentService);
  const { runs } = await client.listRuns({});
  await client.cancelRun({ runId: runs[0]?.id ?? "" });
  await Promise.all([first.cancelled, second.cancelled]);
  const seen = await running;
  assert.equal(seen.failure?.code, "Canceled");
  assert.equal(seen.finished.run.state, RunState.CANCELLED);
});

test("a method that streams tells of its progress", async () => {
  await using inventory = await startInventory({
    async *WatchStock() {
      for (let n = 0; n < 3; n++) yield levels;
    },
  });
  const steps = [calls(["inventory_watch_stock", { sku: "A", maxMessages: 3 }]), says("Done.")];
  await using service = await startParley(inventory.address, steps);
  const seen = await run(service, ask(["inventory_watch_stock"]));
  assert.ok(seen.of("toolCallProgress").length > 0);
  assert.equal((JSON.parse(seen.of("toolCallFinished")[0]?.result?.text ?? "[]") as unknown[]).length, 3);
});

test("a call that must be approved is made when somebody has approved it", async () => {
  await using inventory = await startInventory({ ReserveItems: () => ({ reservationId: "R-7" }) });
  const input = { orderId: "o", lines: [{ sku: "A", warehouseId: "north", quantity: 1 }] };
  const methods = [{ name: "inventory.v1.InventoryService/ReserveItems", approval: true }];
  const steps = [calls([RESERVE, input]), says("Reserved.")];
  await using service = await startParley(inventory.address, steps, { methods });
  const { tools } = await service.client(ToolService).listTools({});
  assert.equal(tools.find(({ name }) => name === RESERVE)?.requiresApproval, true);
  const first = await run(service, ask([RESERVE]));
  assert.equal(first.kinds.at(-1), "actionRequired");
  assert.equal(inventory.calls.length, 0);
  const client = createClient(AgentService, createGrpcTransport({ baseUrl: service.url }));
  const [action] = first.of("actionRequired")[0]?.actions ?? [];
  assert.deepEqual(JSON.parse(action?.inputJson ?? ""), input);
  await client.submitToolResults({
    runId: first.id,
    answers: [{ toolUseId: action?.toolUseId ?? "", answer: { case: "approval", value: { approved: true } } }],
  });
  const rest = await watch(client.attachRun({ runId: first.id, afterSequence: first.events.at(-1)?.sequence ?? 0 }));
  assertGapless([...first.events, ...rest.events]);
  assert.equal(rest.text, "Reserved.");
  assert.equal(inventory.calls.length, 1);
});

test("an MCP server that nobody here wrote is a source of tools", { timeout: 60_000 }, async () => {
  const script = join(import.meta.dirname, "../../node_modules/@modelcontextprotocol/server-everything/dist/index.js");
  await using everything = startSource({ name: "every", command: [process.execPath, script, "stdio"] });
  await everything.listed();
  const steps = [calls(["every__get-sum", { a: 2, b: 40 }], ["every__echo", { message: "hello" }]), says("42.")];
  await using service = await startService({ overrides: { tools: everything.source }, script: { steps } });
  const seen = await run(service, ask(["every__get-sum", "every__echo"]));
  assert.equal(seen.failure, undefined);
  const results = seen.of("toolCallFinished").map(({ result }) => JSON.stringify(result));
  assert.ok(results.some((result) => result.includes("42")));
  assert.ok(results.some((result) => result.includes("hello")));
});

test("a typed answer comes at the end of a run", async () => {
  await using inventory = await startInventory({ GetStock: () => ({ sku: "A", ...levels }) });
  const answer = { sku: "A", name: "Anchor", levels: [], countTime: "2026-11-22T10:00:00Z" };
  const steps = [calls([STOCK, { sku: "A" }]), says(JSON.stringify(answer)), says('{"sku":1}')];
  await using service = await startParley(inventory.address, steps);
  const format = { case: "messageType", value: "inventory.v1.GetStockResponse" } as const;
  const { chat } = ask([STOCK], { chat: { outputConfig: { format } } });
  const good = await run(service, { chat });
  assert.equal(
    good.finished.finalMessage?.structuredOutput?.typeUrl,
    "type.googleapis.com/inventory.v1.GetStockResponse",
  );
  const bad = await run(service, { chat });
  assert.equal(bad.failure?.errorInfo?.reason, "STRUCTURED_OUTPUT_INVALID");
  assert.equal(bad.finished.run.state, RunState.FAILED);
});
