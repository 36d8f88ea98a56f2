import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import type { Script } from "../../src/simulator/simulator.ts";
import { transports } from "../support/service.ts";
import { outline } from "../support/traces.ts";
import {
  assertOneTrace,
  attemptsOf,
  deadlineHeader,
  type Rpc,
  rpcs,
  seenUpstream,
  startTraced,
  transport,
} from "./traced-service.ts";

/**
 * How a call ends, and what is to be seen of that. Error types have `!` where the status of the span is ERROR, and `?` where
 * not.
 */
interface Ending {
  readonly steps: Script["steps"];
  /** What makes the call end. Unset: Claude does. */
  readonly by?: "cancel" | "deadline" | "shutdown";
  /** The event of Claude's that has been read before the caller goes away, or the service shuts down. */
  readonly reaches?: "message_start" | "content_block_delta";
  /** `rpc.response.status_code`. */
  readonly code: string;
  readonly server?: string;
  /** What each request to Claude ended with. */
  readonly attempts: readonly string[];
  /** The same of a run, where it differs: when it runs short of time, it makes one more turn. */
  readonly runAttempts?: readonly string[];
  /** Output tokens of the last answer. Unset: it never began. */
  readonly outputTokens?: number;
  /** Whether some of its content came. */
  readonly chunks?: boolean;
}

const answer = { content: [{ text: "Hello, you there, and everyone else" }], usage: { output_tokens: 9 } };
const failing = (status: number, type: string) => ({ respond: { status, error: { type, message: "No." } } });
const beforeHeaders = [{ respond: answer, gate: "never", times: 2 }];
const beforeContent = [{ respond: answer, gateAfter: { events: 1, gate: "never" }, times: 2 }];
/** Claude has not counted the tokens by then: they are estimated. */
const midStream = [{ respond: answer, gateAfter: { events: 6, gate: "never" } }];

const endings: Record<string, Ending> = {
  "an answer": { steps: [{ respond: answer }], code: "OK", attempts: [""], outputTokens: 9, chunks: true },
  "a request that Claude refuses": {
    steps: [failing(400, "invalid_request_error")],
    code: "INVALID_ARGUMENT",
    server: "?INVALID_REQUEST_ERROR",
    attempts: ["!INVALID_REQUEST_ERROR"],
  },
  "a credential that Claude refuses": {
    steps: [failing(401, "authentication_error")],
    code: "INTERNAL",
    server: "!AUTHENTICATION_ERROR",
    attempts: ["!AUTHENTICATION_ERROR"],
  },
  "an error of Claude's in the middle of its answer": {
    steps: [{ respond: answer, faults: { errorAfter: { events: 6, error: { type: "api_error", message: "No." } } } }],
    code: "INTERNAL",
    server: "!API_ERROR",
    attempts: ["!API_ERROR"],
    outputTokens: 3,
    chunks: true,
  },
  "an answer that breaks off": {
    steps: [{ respond: answer, faults: { truncateAfter: 6 } }],
    code: "UNAVAILABLE",
    server: "!UPSTREAM_STREAM_TRUNCATED",
    attempts: ["!UPSTREAM_STREAM_TRUNCATED"],
    outputTokens: 3,
    chunks: true,
  },
  "a caller that goes away before Claude's header": {
    steps: beforeHeaders,
    by: "cancel",
    code: "CANCELLED",
    server: "?CANCELLED",
    attempts: ["!CANCELLED"],
  },
  "a caller that goes away before the first content": {
    steps: beforeContent,
    by: "cancel",
    reaches: "message_start",
    code: "CANCELLED",
    server: "?CANCELLED",
    attempts: ["!CANCELLED"],
    outputTokens: 1,
  },
  "a caller that goes away in the middle of the answer": {
    steps: midStream,
    by: "cancel",
    reaches: "content_block_delta",
    code: "CANCELLED",
    server: "?CANCELLED",
    attempts: ["!CANCELLED"],
    outputTokens: 3,
    chunks: true,
  },
  "a deadline that passes before Claude's header": {
    steps: beforeHeaders,
    by: "deadline",
    code: "DEADLINE_EXCEEDED",
    server: "!DEADLINE_EXCEEDED",
    attempts: ["!DEADLINE_EXCEEDED"],
    runAttempts: ["!DEADLINE_EXCEEDED", "!DEADLINE_EXCEEDED"],
  },
  "a deadline that passes before the first content": {
    steps: beforeContent,
    by: "deadline",
    code: "DEADLINE_EXCEEDED",
    server: "!DEADLINE_EXCEEDED",
    attempts: ["!DEADLINE_EXCEEDED"],
    runAttempts: ["!DEADLINE_EXCEEDED", "!DEADLINE_EXCEEDED"],
    outputTokens: 1,
  },
  "a deadline that passes in the middle of the answer": {
    steps: midStream,
    by: "deadline",
    code: "DEADLINE_EXCEEDED",
    server: "!DEADLINE_EXCEEDED",
    attempts: ["!DEADLINE_EXCEEDED"],
    outputTokens: 3,
    chunks: true,
  },
  "a shutdown before Claude's header": {
    steps: beforeHeaders,
    by: "shutdown",
    code: "UNAVAILABLE",
    server: "!SHUTTING_DOWN",
    attempts: ["!SHUTTING_DOWN"],
  },
  "a shutdown in the middle of the answer": {
    steps: midStream,
    by: "shutdown",
    reaches: "content_block_delta",
    code: "UNAVAILABLE",
    server: "!SHUTTING_DOWN",
    attempts: ["!SHUTTING_DOWN"],
    outputTokens: 3,
    chunks: true,
  },
};

/** Long enough for Claude's part to have come. A run keeps a fifth of it for one more turn. */
const DEADLINE_MS = { Chat: 800, StreamChat: 800, RunAgent: 2_500 } as const;

function traceOf(rpc: Rpc, { server = "", attempts, runAttempts = attempts }: Ending): string[] {
  const titled = (title: string, errorType: string) => (errorType === "" ? title : `${title} ${errorType}`);
  const chat = (attempt: string) => titled("chat claude-sonnet-5-5", attempt);
  const head = ["caller", `  ${titled(rpcs[rpc].path, server)}`];
  if (rpc !== "RunAgent") return [...head, ...attempts.map((attempt) => `    ${chat(attempt)}`)];
  const failed = server.replace("?", "!");
  return [
    ...head,
    `    ${titled("invoke_agent parley", failed)}`,
    ...runAttempts.flatMap((attempt) => [`      ${titled("turn", attempt)}`, `        ${chat(attempt)}`]),
  ];
}

function eventsOf({ events }: ReadableSpan): string[] {
  return events.map(({ name }) => name);
}

/** Undefined: nothing is known of any. */
function sumOf(numbers: readonly unknown[]): number | undefined {
  const known = numbers.filter((number) => typeof number === "number");
  return known.length === 0 ? undefined : known.reduce((sum, number) => sum + number, 0);
}

/** Events within their span, in order: those of spans are in whole milliseconds. */
function assertInTime({ name, startTime, endTime, events }: ReadableSpan): void {
  const milliseconds = ([seconds, nanos]: [number, number]) => seconds * 1e3 + nanos / 1e6;
  const times = [startTime, ...events.map(({ time }) => time), endTime].map(milliseconds);
  for (const [index, time] of times.entries()) assert.ok(time >= (times[index - 1] ?? 0) - 2, `${name}: ${times}`);
}

describe("a call is one trace, from its caller to Claude, and all its spans end", { concurrency: 6 }, () => {
  for (const [title, ending] of Object.entries(endings)) {
    for (const rpc of Object.keys(rpcs) as Rpc[]) {
      for (const protocol of ["gRPC over HTTP/2", "Connect over HTTP/1.1"]) {
        test(`${title}: ${rpc}, ${protocol}`, async () => {
          const { steps, by, reaches } = ending;
          const seen = reaches === undefined ? undefined : seenUpstream();
          await using traced = await startTraced({
            script: { steps },
            config: { server: { drain: 0 }, claude: { retry: { maxAttempts: 1 } } },
            overrides: seen === undefined ? {} : { upstream: seen.upstream },
          });
          const { service, traces } = traced;
          await using _connection = seen?.connect(service);
          const leaving = new AbortController();
          const caller = await traces.caller(async (trace) => {
            const headers = by === "deadline" ? { ...trace, ...deadlineHeader(protocol, DEADLINE_MS[rpc]) } : trace;
            const call = rpcs[rpc].call(transport(service, protocol), { headers, signal: leaving.signal });
            call.catch(() => {});
            if (by !== undefined) await service.simulator.nextRequest();
            if (reaches !== undefined) await seen?.read(reaches);
            if (by === "cancel") leaving.abort();
            if (by === "shutdown") await service.server.shutDown();
            await call;
          });
          const line = await service.nextCall();
          await assertOneTrace(caller, traced);
          assert.deepEqual(outline(caller.spans), traceOf(rpc, ending));
          caller.spans.forEach(assertInTime);

          const server = caller.span(rpcs[rpc].path);
          assert.equal(server.attributes["rpc.response.status_code"], ending.code);
          assert.equal(server.attributes["parley.call.id"], line.call);
          assert.equal(line.span_id, server.spanContext().spanId);
          const attempt = attemptsOf(caller).at(-1);
          assert.ok(attempt);
          const chunks = ending.chunks ? ["gen_ai.first_chunk", "gen_ai.last_chunk"] : [];
          assert.deepEqual(eventsOf(attempt), chunks);
          const finishReasons = attempt.attributes["gen_ai.response.finish_reasons"];
          assert.deepEqual(finishReasons, ending.code === "OK" ? ["end_turn"] : undefined);
          const outputTokens = (span: ReadableSpan) => span.attributes["gen_ai.usage.output_tokens"];
          assert.equal(outputTokens(attempt), ending.outputTokens);
          if (rpc !== "RunAgent") assert.equal(outputTokens(server), ending.outputTokens);
          else
            assert.equal(outputTokens(caller.span("invoke_agent parley")), sumOf(attemptsOf(caller).map(outputTokens)));
        });
      }
    }
  }
});

/** Calls StreamChat to its end, as Server-Sent Events. */
async function callSse(url: string, { headers, signal }: { headers: Record<string, string>; signal: AbortSignal }) {
  const response = await fetch(`${url}/${rpcs.StreamChat.path}`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify({ chat: { messages: [{ role: "ROLE_USER", text: "hello" }] } }),
    signal,
  });
  await response.text();
}

describe("whatever protocol a call comes by, the trace is the same", { concurrency: 4 }, () => {
  const protocols = [...Object.keys(transports("http://localhost")), "Server-Sent Events"];
  for (const title of ["an answer", "a caller that goes away in the middle of the answer"]) {
    const ending = endings[title] as Ending;
    for (const protocol of protocols) {
      test(`${title}: ${protocol}`, async () => {
        await using traced = await startTraced({ script: { steps: ending.steps } });
        const { service, traces } = traced;
        const leaving = new AbortController();
        const caller = await traces.caller(async (headers) => {
          const options = { headers, signal: leaving.signal };
          const call =
            protocol === "Server-Sent Events"
              ? callSse(service.url, options)
              : rpcs.StreamChat.call(transport(service, protocol), options);
          call.catch(() => {});
          await service.simulator.nextRequest();
          if (ending.by === "cancel") leaving.abort();
          await call;
        });
        const { protocol: told } = await service.nextCall();
        await assertOneTrace(caller, traced);
        assert.deepEqual(outline(caller.spans), traceOf("StreamChat", ending));
        const { attributes } = caller.span(rpcs.StreamChat.path);
        assert.equal(attributes["rpc.response.status_code"], ending.code);
        assert.equal(attributes["rpc.system.name"], String(told).startsWith("grpc") ? "grpc" : "connectrpc");
      });
    }
  }
});
