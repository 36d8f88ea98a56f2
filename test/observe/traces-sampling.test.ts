import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { AlwaysOnSampler, ParentBasedSampler, TraceIdRatioBasedSampler } from "@opentelemetry/sdk-trace";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { ask, calls, says, watch } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import { type Service, startService } from "../support/service.ts";
import { startTraces, type Traces, traceparentOf } from "../support/traces.ts";
import { transport } from "./traced-service.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";
const TRACEPARENT = `00-${TRACE}-${SPAN}-01`;

type Headers = Readonly<Record<string, string | undefined>>;

/** What a run with a tool call hands on of the trace in the headers of its request. */
interface HandedOn {
  readonly claude: Headers;
  readonly tool: Headers;
  /** Lines of the log that are about the call. */
  readonly lines: readonly Record<string, unknown>[];
}

/** @param traces Unset: the service traces nothing. */
async function runWith(headers: Readonly<Record<string, string>>, traces?: Traces): Promise<HandedOn> {
  let tool: Headers = {};
  const tools = new ScriptedTools({
    look: (_, { trace }) => {
      const request = trace.grpcRequest("pkg.v1.Service/Look", "service:443");
      tool = request.headers;
      request.ended();
      return "seen";
    },
  });
  const script = { steps: [calls(["look"]), says("Done.")] };
  const overrides = { tools, ...(traces !== undefined && { telemetry: traces.telemetry }) };
  await using service: Service = await startService({ script, overrides });
  const agents = createClient(AgentService, transport(service, "Connect over HTTP/1.1"));
  const seen = await watch(agents.runAgent(ask(tools) as never, { headers }));
  assert.equal(seen.failure, undefined);
  assert.equal(seen.text, "Done.");
  await service.nextCall();
  await traces?.settled();
  const [claude] = service.simulator.requests;
  return {
    claude: {
      traceparent: claude?.headers.traceparent as string | undefined,
      tracestate: claude?.headers.tracestate as string | undefined,
    },
    tool,
    lines: service.logs.filter(({ msg }) => msg === "call" || msg === "run"),
  };
}

describe("what the caller has decided of sampling holds", () => {
  const sampled = new ParentBasedSampler({ root: new AlwaysOnSampler() });
  const neverSampled = new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(0) });
  const notSampled = `00-${TRACE}-${SPAN}-00`;

  for (const [title, traceparent, sampler] of [
    ["a trace that is not sampled", notSampled, sampled],
    ["a trace that nobody samples", undefined, neverSampled],
  ] as const) {
    test(`${title} goes on to Claude and to tools, and nothing is recorded`, async () => {
      const traces = startTraces(sampler);
      const { claude, tool, lines } = await runWith(traceparent === undefined ? {} : { traceparent }, traces);
      assert.deepEqual(traces.spans, []);
      const trace = traceparent === undefined ? String(lines[0]?.trace_id) : TRACE;
      for (const headers of [claude, tool]) {
        assert.match(headers.traceparent ?? "", new RegExp(`^00-${trace}-[\\da-f]{16}-00$`));
        assert.ok(!headers.traceparent?.includes(SPAN));
      }
      for (const line of lines) assert.equal(line.trace_id, trace);
    });
  }

  test("a trace that is sampled is recorded, also where the service itself would not begin one", async () => {
    const traces = startTraces(neverSampled);
    const { claude } = await runWith({ traceparent: TRACEPARENT, tracestate: "vendor=1" }, traces);
    assert.equal(new Set(traces.spans.map((span) => span.spanContext().traceId)).size, 1);
    const chat = traces.spans.find(({ name }) => name.startsWith("chat "));
    assert.ok(chat);
    assert.deepEqual(claude, { traceparent: traceparentOf(chat), tracestate: "vendor=1" });
    const server = traces.spans.find(({ name }) => name.endsWith("RunAgent"));
    assert.equal(server?.parentSpanContext?.spanId, SPAN);
  });

  test("a call that is part of no trace begins one", async () => {
    const traces = startTraces(sampled);
    const { claude, lines } = await runWith({}, traces);
    const server = traces.spans.find(({ name }) => name.endsWith("RunAgent"));
    assert.equal(server?.parentSpanContext, undefined);
    assert.match(claude.traceparent ?? "", new RegExp(`^00-${server?.spanContext().traceId}-`));
    for (const line of lines) assert.equal(line.trace_id, server?.spanContext().traceId);
  });
});

describe("a service that traces nothing", () => {
  test("hands the trace of the caller on to tools as it is, and tells it in the log, but not to Claude", async () => {
    const headers = { traceparent: TRACEPARENT, tracestate: "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE" };
    const { claude, tool, lines } = await runWith(headers);
    assert.deepEqual(tool, headers);
    assert.deepEqual(claude, { traceparent: undefined, tracestate: undefined });
    for (const line of lines) {
      assert.equal(line.trace_id, TRACE);
      assert.equal(line.span_id, undefined);
    }
  });

  test("tells nobody of a trace when the caller has none", async () => {
    const { claude, tool, lines } = await runWith({});
    assert.deepEqual(tool, {});
    assert.deepEqual(claude, { traceparent: undefined, tracestate: undefined });
    for (const line of lines) assert.equal(line.trace_id, undefined);
  });
});

/** `traceparent`, and what tools get of it when nothing is traced. Undefined: it is no trace. */
const traceparents: Readonly<Record<string, readonly [sent: string, handedOn: string | undefined]>> = {
  "a newer version": [`cc-${TRACE}-${SPAN}-01-what-the-future-brings`, TRACEPARENT],
  "flags that nobody knows": [`00-${TRACE}-${SPAN}-ff`, `00-${TRACE}-${SPAN}-03`],
  "the version that is none": [`ff-${TRACE}-${SPAN}-01`, undefined],
  capitals: [TRACEPARENT.toUpperCase(), undefined],
  "no trace id": [`00-${"0".repeat(32)}-${SPAN}-01`, undefined],
  "no span id": [`00-${TRACE}-${"0".repeat(16)}-01`, undefined],
  "something behind it": [`${TRACEPARENT}-x`, undefined],
  "half of it": [`00-${TRACE}`, undefined],
  "two of them": [`${TRACEPARENT}, ${TRACEPARENT}`, undefined],
  nothing: ["", undefined],
  "no ASCII": [`00-${TRACE}-é`, undefined],
  "thousands of characters": [`00-${"4b".repeat(4_000)}-${SPAN}-01`, undefined],
};

describe("no call is harmed by an odd traceparent", () => {
  for (const [title, [traceparent, handedOn]] of Object.entries(traceparents)) {
    test(title, async () => {
      const untraced = await runWith({ traceparent });
      assert.equal(untraced.tool.traceparent, handedOn);
      const traces = startTraces();
      const { claude, lines } = await runWith({ traceparent }, traces);
      const [server] = traces.spans;
      assert.equal(server?.parentSpanContext?.spanId, handedOn === undefined ? undefined : SPAN);
      assert.match(claude.traceparent ?? "", new RegExp(`^00-${server?.spanContext().traceId}-[\\da-f]{16}-01$`));
      for (const line of lines) assert.equal(line.trace_id, server?.spanContext().traceId);
    });
  }
});

const member = (index: number) => `vendor${index}=${"x".repeat(10)}`;
const members = (count: number) => Array.from({ length: count }, (_, index) => member(index)).join(",");

/** `tracestate`, and what is handed on of it. */
const tracestates: Readonly<Record<string, readonly [sent: string, handedOn: string | undefined]>> = {
  "some members": ["rojo=1,congo=2", "rojo=1,congo=2"],
  "as many members as may be": [members(25), members(25)],
  "more members than may be": [members(300), members(26)],
  "one very long member": [`a=${"x".repeat(7_000)}`, undefined],
  nothing: ["", undefined],
  "no members": [";;;,==,,\t, ,=", undefined],
  "no ASCII": ["é=1,a=é", undefined],
  "the same member again": ["a=1,b=2,a=3", "a=3,b=2"],
};

describe("no call is harmed by an odd tracestate", () => {
  for (const [title, [tracestate, handedOn]] of Object.entries(tracestates)) {
    test(title, async () => {
      const headers = { traceparent: TRACEPARENT, tracestate };
      const untraced = await runWith(headers);
      assert.equal(untraced.tool.tracestate, handedOn);
      const traces = startTraces();
      const { claude, tool } = await runWith(headers, traces);
      assert.deepEqual([claude.tracestate, tool.tracestate], [handedOn, handedOn]);
      assert.equal(traces.spans[0]?.parentSpanContext?.spanId, SPAN);
    });
  }
});
