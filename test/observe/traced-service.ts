import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { type CallOptions, createClient, type Transport } from "@connectrpc/connect";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createAnthropicUpstream } from "../../src/upstream/anthropic.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import { type Service, type ServiceOptions, startService, transports } from "../support/service.ts";
import { type CallerSpan, startTraces, type Traces, traceparentOf } from "../support/traces.ts";

/** A service whose spans a test sees. */
export interface TracedService extends AsyncDisposable {
  readonly service: Service;
  readonly traces: Traces;
  /** Lines of the log since the service has started. */
  readonly lines: readonly Record<string, unknown>[];
}

/** @param traces may be there before the service: those of its tools. */
export async function startTraced(options: ServiceOptions = {}, traces = startTraces()): Promise<TracedService> {
  const overrides = { telemetry: traces.telemetry, ...options.overrides };
  const service = await startService({ ...options, overrides });
  const before = service.logs.length;
  return {
    service,
    traces,
    get lines() {
      return service.logs.slice(before);
    },
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}

/** A way to Claude that tells what has been read of an answer. */
export interface SeenUpstream {
  readonly upstream: Upstream;
  /** Makes it the way to the simulator of a service. */
  connect(service: Service): AsyncDisposable;
  /** Resolves when an event of this type has been read. */
  read(type: string): Promise<void>;
}

export function seenUpstream(): SeenUpstream {
  const seen = new Set<string>();
  const events = new EventEmitter<{ read: [] }>().setMaxListeners(0);
  let target: Upstream | undefined;
  const connected = () => target as Upstream;
  return {
    upstream: {
      async streamMessage(params, options) {
        const stream = await connected().streamMessage(params, options);
        const next = stream.next.bind(stream);
        stream.next = async () => {
          const result = await next();
          for (const { event } of result.value ?? []) seen.add(event.type);
          events.emit("read");
          return result;
        };
        return stream;
      },
      countTokens: (params, options) => connected().countTokens(params, options),
      listModels: (params, options) => connected().listModels(params, options),
      getModel: (id, options) => connected().getModel(id, options),
      [Symbol.asyncDispose]: async () => {},
    },
    connect({ config: { claude, ...config } }) {
      target = createAnthropicUpstream({
        ...config,
        workspaceId: undefined,
        connectTimeoutMs: claude.connectTimeout,
        firstByteTimeoutMs: claude.firstByteTimeout,
        idleTimeoutMs: claude.idleTimeout,
      });
      return target;
    },
    async read(type) {
      while (!seen.has(type)) await once(events, "read");
    },
  };
}

/** The RPCs that make turns, each with how it is called. All are called to their end. */
export const rpcs = {
  Chat: {
    path: "parley.v1.ChatService/Chat",
    call: (transport: Transport, options: CallOptions) => createClient(ChatService, transport).chat(chat, options),
  },
  StreamChat: {
    path: "parley.v1.ChatService/StreamChat",
    call: (transport: Transport, options: CallOptions) =>
      toTheEnd(createClient(ChatService, transport).streamChat({ chat }, options)),
  },
  RunAgent: {
    path: "parley.v1.AgentService/RunAgent",
    call: (transport: Transport, options: CallOptions) =>
      toTheEnd(createClient(AgentService, transport).runAgent({ chat }, options)),
  },
} as const;

export type Rpc = keyof typeof rpcs;

const chat = { messages: [{ role: Role.USER, text: "hello" }] };

async function toTheEnd(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

/** By its name in `transports`. */
export function transport({ url }: Service, name: string): Transport {
  const found = transports(url)[name];
  if (found === undefined) throw new Error(`there is no transport ${name}`);
  return found;
}

/** The header that tells the service alone of a deadline: a client that knows of it would cancel the call. */
export function deadlineHeader(transportName: string, milliseconds: number): Record<string, string> {
  return transportName.startsWith("gRPC")
    ? { "grpc-timeout": `${milliseconds}m` }
    : { "connect-timeout-ms": String(milliseconds) };
}

/** Spans of requests for answers, in the order in which they began. */
export function attemptsOf({ spans }: CallerSpan): readonly ReadableSpan[] {
  return spans.filter(({ name }) => name.startsWith("chat "));
}

/**
 * Asserts what holds for each call, however it ends: there is one trace and no span beside it, Claude was told of the
 * span of each attempt, and each line of the log tells of the trace, the caller and the call.
 */
export async function assertOneTrace(caller: CallerSpan, traced: TracedService): Promise<void> {
  const { service, traces } = traced;
  await traces.settled();
  const others = traces.spans.filter((span) => !caller.spans.includes(span));
  assert.deepEqual(
    others.map(({ name }) => name),
    [],
  );
  const told = service.simulator.requests.map(({ headers }) => headers.traceparent);
  assert.deepEqual(told.toSorted(), caller.spans.filter(asksClaude).map(traceparentOf).toSorted());
  const calls = new Set<unknown>(caller.spans.map(({ attributes }) => attributes["parley.call.id"]));
  assert.ok(traced.lines.length > 0);
  for (const line of traced.lines) {
    assert.equal(line.trace_id, caller.traceId, JSON.stringify(line));
    assert.match(String(line.span_id), /^[\da-f]{16}$/);
    assert.equal(line.caller, "anonymous", JSON.stringify(line));
    assert.ok(calls.has(line.call), JSON.stringify(line));
  }
}

function asksClaude({ attributes }: ReadableSpan): boolean {
  return attributes["gen_ai.provider.name"] === "anthropic";
}
