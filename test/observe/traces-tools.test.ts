import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { type Context, context, ROOT_CONTEXT } from "@opentelemetry/api";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { plainTool, startMcpServer, textResult } from "../support/mcp-server.ts";
import { ask, calls, says, watch } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import type { Service } from "../support/service.ts";
import { type CallerSpan, outline, startTraces, type Traces, traceparentOf } from "../support/traces.ts";
import {
  grpcConfig,
  type Handler,
  type SeenCall,
  startService as startInventory,
  statusError,
} from "../tools/grpc/service.ts";
import { startSource } from "../tools/mcp/source.ts";
import { assertOneTrace, startTraced } from "./traced-service.ts";

const STOCK = "inventory_get_stock";
const GET_STOCK = "inventory.v1.InventoryService/GetStock";
const stock = { sku: "A", levels: [{ warehouseId: "north", available: 3 }] };

type CallOptions = { readonly headers: Readonly<Record<string, string>>; readonly signal?: AbortSignal };

async function runAgent(service: Service, tools: readonly string[], options: CallOptions): Promise<void> {
  await watch(service.client(AgentService).runAgent(ask(tools) as never, options));
}

function traceHeaders({ metadata }: SeenCall): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata.getMap()).map(([name, value]) => [name, String(value)]));
}

/** What there is of a run whose first turn calls a tool. */
function traceOf(run: { server?: string; work?: string; tool: readonly string[]; answers?: boolean }): string[] {
  const { server = "", work = "", tool, answers = true } = run;
  const turn = ["      turn", "        chat claude-sonnet-5-5"];
  return [
    "caller",
    `  parley.v1.AgentService/RunAgent${server}`,
    `    invoke_agent parley${work}`,
    ...turn,
    ...tool.map((line) => `      ${line}`),
    ...(answers ? turn : []),
  ];
}

interface GrpcCase {
  readonly handler: (call: SeenCall, attempt: number) => unknown;
  readonly settings?: object;
  readonly by?: "cancel" | "deadline" | "shutdown";
  readonly trace: Parameters<typeof traceOf>[0];
}

const untilCancelled: GrpcCase["handler"] = ({ cancelled }) => cancelled.then(() => stock);
const remote = ["    GetStock", "      GetStock: its own work"];
const hanging = (error: string) => [`execute_tool ${STOCK} ${error}`, `  ${GET_STOCK} ${error}`, ...remote];

const grpcCases: Record<string, GrpcCase> = {
  "an answer": { handler: () => stock, trace: { tool: [`execute_tool ${STOCK}`, `  ${GET_STOCK}`, ...remote] } },
  "a status": {
    handler: () => {
      throw statusError(status.NOT_FOUND, "no such item");
    },
    trace: { tool: hanging("!NOT_FOUND") },
  },
  "a status that gRPC does not have": {
    handler: () => {
      throw statusError(99 as never, "no such code");
    },
    trace: { tool: hanging("!UNKNOWN") },
  },
  "a service that is there at the second attempt": {
    handler: (_, attempt) => {
      if (attempt === 1) throw statusError(status.UNAVAILABLE, "starting");
      return stock;
    },
    trace: {
      tool: [`execute_tool ${STOCK}`, `  ${GET_STOCK} !UNAVAILABLE`, ...remote, `  ${GET_STOCK}`, ...remote],
    },
  },
  "an answer that is too large": {
    handler: () => ({ ...stock, name: "x".repeat(2_000) }),
    settings: { responseBytes: "1KiB" },
    trace: { tool: hanging("!RESOURCE_EXHAUSTED") },
  },
  "a timeout of the tool's own": {
    handler: untilCancelled,
    settings: { timeout: "200ms" },
    trace: { tool: hanging("!DEADLINE_EXCEEDED") },
  },
  "a caller that goes away": {
    handler: untilCancelled,
    by: "cancel",
    trace: { server: " ?CANCELLED", work: " !CANCELLED", tool: hanging("!CANCELLED"), answers: false },
  },
  "a deadline that passes, after which there is a last turn": {
    handler: untilCancelled,
    by: "deadline",
    trace: { tool: hanging("!DEADLINE_EXCEEDED") },
  },
  "a shutdown": {
    handler: untilCancelled,
    by: "shutdown",
    trace: {
      server: " !SHUTTING_DOWN",
      work: " !SHUTTING_DOWN",
      tool: [`execute_tool ${STOCK} !SHUTTING_DOWN`, `  ${GET_STOCK} !CANCELLED`, ...remote],
      answers: false,
    },
  },
};

describe("a call of a gRPC tool goes on in the tool's service", { concurrency: 4 }, () => {
  for (const [title, { handler, settings, by, trace }] of Object.entries(grpcCases)) {
    test(title, async () => {
      const traces = startTraces();
      let attempts = 0;
      const traced: Handler = (call) => traces.serve("GetStock", traceHeaders(call), () => handler(call, ++attempts));
      await using inventory = await startInventory({ GetStock: traced });
      await using parley = await startTraced(
        {
          script: { steps: [calls([STOCK, { sku: "A" }]), says("Three.")] },
          config: { tools: { grpc: [grpcConfig(inventory.address, { ...settings })] }, server: { drain: 0 } } as never,
        },
        traces,
      );
      const leaving = new AbortController();
      const caller = await traces.caller(async (headers) => {
        const deadline = by === "deadline" ? { "grpc-timeout": "2500m" } : {};
        const options = { headers: { ...headers, ...deadline }, signal: leaving.signal };
        const running = runAgent(parley.service, [STOCK], options);
        await inventory.nextCall();
        if (by === "cancel") leaving.abort();
        if (by === "shutdown") await parley.service.server.shutDown();
        await running;
      });
      await assertOneTrace(caller, parley);
      assert.deepEqual(outline(caller.spans), traceOf(trace));
      assertHandedOn(inventory.calls.map(traceHeaders), caller, GET_STOCK);
    });
  }
});

/** Asserts that each request was told of the span that it has. */
function assertHandedOn(received: readonly Record<string, unknown>[], { spans }: CallerSpan, name: string): void {
  const clients = spans.filter((span) => span.name === name).map(traceparentOf);
  assert.deepEqual(received.map(({ traceparent }) => traceparent).toSorted(), clients.toSorted());
}

test("calls side by side are all below the same work, each with its own", async () => {
  const traces = startTraces();
  await using inventory = await startInventory({
    GetStock: (call) => traces.serve("GetStock", traceHeaders(call), () => stock),
    WatchStock: (call) => watched(call),
  });
  async function* watched(call: SeenCall) {
    await traces.serve("WatchStock", traceHeaders(call), () => {});
    yield { levels: stock.levels };
  }
  const watchStock = "inventory_watch_stock";
  const steps = [
    calls([STOCK, { sku: "A" }], [STOCK, { sku: "B" }], [watchStock, { sku: "A", maxMessages: 1 }]),
    says("Three."),
  ];
  const config = { tools: { grpc: [grpcConfig(inventory.address)] } } as never;
  await using parley = await startTraced({ script: { steps }, config }, traces);
  const caller = await traces.caller((headers) => runAgent(parley.service, [STOCK, watchStock], { headers }));
  await assertOneTrace(caller, parley);
  const get = [`execute_tool ${STOCK}`, `  ${GET_STOCK}`, ...remote];
  const watching = [
    `execute_tool ${watchStock}`,
    "  inventory.v1.InventoryService/WatchStock",
    "    WatchStock",
    "      WatchStock: its own work",
  ];
  assert.deepEqual(outline(caller.spans), traceOf({ tool: [...get, ...get, ...watching] }));
});

interface McpCase {
  readonly answer: object;
  /** Unset: it answers. */
  readonly by?: "cancel" | "timeout";
  readonly trace: Parameters<typeof traceOf>[0];
}

const mcpCases: Record<string, McpCase> = {
  "an answer": {
    answer: textResult("done"),
    trace: { tool: ["execute_tool test__work", "  tools/call work", "    work", "      work: its own work"] },
  },
  "a tool that says that it failed": {
    answer: { result: { content: [{ type: "text", text: "no" }], isError: true, resultType: "complete" } },
    trace: {
      tool: ["execute_tool test__work !tool_error", "  tools/call work", "    work", "      work: its own work"],
    },
  },
  "an error of the server's": {
    answer: { error: { code: -32602, message: "no" } },
    trace: {
      tool: [
        "execute_tool test__work !INVALID_ARGUMENT",
        "  tools/call work !-32602",
        "    work",
        "      work: its own work",
      ],
    },
  },
  "a timeout of the tool's own": {
    answer: textResult("too late"),
    by: "timeout",
    trace: {
      tool: [
        "execute_tool test__work !DEADLINE_EXCEEDED",
        "  tools/call work !DEADLINE_EXCEEDED",
        "    work",
        "      work: its own work",
      ],
    },
  },
  "a caller that goes away": {
    answer: textResult("too late"),
    by: "cancel",
    trace: {
      server: " ?CANCELLED",
      work: " !CANCELLED",
      tool: [
        "execute_tool test__work !CANCELLED",
        "  tools/call work !CANCELLED",
        "    work",
        "      work: its own work",
      ],
      answers: false,
    },
  },
};

describe("a call of an MCP tool goes on in the server", () => {
  for (const [title, { answer, by, trace }] of Object.entries(mcpCases)) {
    test(title, async () => {
      const traces = startTraces();
      await using server = await startMcpServer({
        tools: [plainTool("work")],
        answers: {
          "tools/call": (message) =>
            traces.serve("work", message.params?._meta as Record<string, string>, async () => {
              if (by !== undefined) await message.closed;
              return answer as never;
            }),
        },
      });
      await using tools = startSource({ url: server.url, timeout: by === "timeout" ? "200ms" : "10s" });
      await tools.listed();
      const script = { steps: [calls(["test__work"]), says("Done.")] };
      await using parley = await startTraced({ script, overrides: { tools: tools.source } }, traces);
      const leaving = new AbortController();
      const caller = await traces.caller(async (headers) => {
        const running = runAgent(parley.service, ["test__work"], { headers, signal: leaving.signal });
        await server.message(({ method }) => method === "tools/call");
        if (by === "cancel") leaving.abort();
        await running;
      });
      await assertOneTrace(caller, parley);
      assert.deepEqual(outline(caller.spans), traceOf(trace));
      const called = server.received.filter(({ method }) => method === "tools/call");
      assertHandedOn(
        called.map(({ params }) => params?._meta as Record<string, unknown>),
        caller,
        "tools/call work",
      );
    });
  }
});

test("a tool that crashes has a span that failed, and a line in the log that tells of the trace", async () => {
  const tools = new ScriptedTools({
    crash: () => {
      throw new TypeError("out of cheese");
    },
  });
  const script = { steps: [calls(["crash"]), says("Sorry.")] };
  await using parley = await startTraced({ script, overrides: { tools } });
  const caller = await parley.traces.caller((headers) => runAgent(parley.service, ["crash"], { headers }));
  await assertOneTrace(caller, parley);
  assert.deepEqual(outline(caller.spans), traceOf({ tool: ["execute_tool crash !INTERNAL"] }));
  assert.deepEqual(
    parley.lines.map(({ msg }) => msg),
    ["a tool has thrown", "run", "call"],
  );
});

test("what a tool in this process does in spans of its own is below its call", async () => {
  const storage = new AsyncLocalStorage<Context>();
  context.setGlobalContextManager({
    active: () => storage.getStore() ?? ROOT_CONTEXT,
    with: (active, work, self, ...args) => storage.run(active, () => work.call(self as never, ...args)),
    bind: (_, target) => target,
    enable() {
      return this;
    },
    disable() {
      return this;
    },
  });
  using _registered = { [Symbol.dispose]: () => context.disable() };
  const work = (traces: Traces, name: string) =>
    traces.telemetry.tracerProvider?.getTracer("library").startSpan(name, {}, context.active()).end();
  const traces = startTraces();
  const tools = new ScriptedTools({
    first: async () => {
      await Promise.resolve();
      work(traces, "library of first");
      return "done";
    },
    second: () => {
      work(traces, "library of second");
      return "done";
    },
  });
  const script = { steps: [calls(["first"], ["second"]), says("Done.")] };
  await using parley = await startTraced({ script, overrides: { tools } }, traces);
  const caller = await traces.caller((headers) => runAgent(parley.service, ["first", "second"], { headers }));
  await assertOneTrace(caller, parley);
  const tool = ["execute_tool first", "  library of first", "execute_tool second", "  library of second"];
  assert.deepEqual(outline(caller.spans), traceOf({ tool }));
});
