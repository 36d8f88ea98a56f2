import { create, fromBinary } from "@bufbuild/protobuf";
import {
  type AgentEvent,
  AgentEventSchema,
  type RunAgentRequest,
  RunAgentRequestSchema,
} from "../../gen/parley/v1/agent_service_pb.js";
import type { LoopObserver } from "../../src/agent/loop-observer.ts";
import { PriceTable } from "../../src/agent/prices.ts";
import { RetryBudget } from "../../src/agent/retry.ts";
import { ToolSlots } from "../../src/agent/tool-set.ts";
import { loadConfig } from "../../src/config/config.ts";
import { loadMessageTypes } from "../../src/descriptors/message-types.ts";
import type { Call } from "../../src/rpc/call.ts";
import { createRunFormat } from "../../src/rpc/convert/agent-events.ts";
import { budgetWith } from "../../src/rpc/convert/budget.ts";
import { newRun, runTask } from "../../src/rpc/convert/run-request.ts";
import type { RunCall } from "../../src/runs/active-run.ts";
import type { RunRecord } from "../../src/runs/run-record.ts";
import type { RunStore } from "../../src/runs/run-store.ts";
import { Runs } from "../../src/runs/runs.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import { ToolRegistry } from "../../src/tools/registry.ts";
import { createAnthropicUpstream } from "../../src/upstream/anthropic.ts";
import type { RunInput } from "../support/runs.ts";
import type { ScriptedTools } from "../support/scripted-tools.ts";
import { silentObserver } from "../support/silent-observer.ts";

/** The runs of one of several processes that share a store. */
export interface Replica extends AsyncDisposable {
  readonly runs: Runs;
  /** Starts a run. It ends with a call, if there is one. */
  start(request: RunInput, call?: RunCall): Promise<RunRecord>;
  resume(record: RunRecord): void;
  /** All events after a number, up to the end of the run. `onEvent` sees each as it comes. */
  follow(record: RunRecord, after: number, onEvent?: (event: AgentEvent) => void): Promise<AgentEvent[]>;
}

export interface ReplicaOptions {
  readonly maxActive?: number;
  readonly observer?: LoopObserver;
}

export function startReplica(
  simulator: Simulator,
  store: RunStore,
  tools: ScriptedTools,
  { maxActive = 1_000, observer = silentObserver.loop }: ReplicaOptions = {},
): Replica {
  const config = loadConfig({ ANTHROPIC_API_KEY: "sk-test", ANTHROPIC_BASE_URL: simulator.url });
  const { claude } = config;
  const upstream = createAnthropicUpstream({
    baseUrl: config.baseUrl,
    credential: config.credential,
    workspaceId: undefined,
    proxy: undefined,
    connectTimeoutMs: claude.connectTimeout,
    firstByteTimeoutMs: claude.firstByteTimeout,
    idleTimeoutMs: claude.idleTimeout,
  });
  const prices = new PriceTable(config.prices);
  const retrier = {
    policy: { maxAttempts: 1, baseDelayMs: 1, maxDelayMs: 1 },
    budget: new RetryBudget(),
    random: Math.random,
    sleep: async () => {},
  };
  const runs = new Runs({
    store,
    format: createRunFormat(prices),
    loop: {
      upstream,
      retrier,
      prices,
      slots: new ToolSlots(),
      observer,
      maxResultBytes: config.runs.resultBytes,
    },
    observer: silentObserver.runs,
    retentionMs: config.runs.retention,
    actionTimeoutMs: config.runs.actionTimeout,
    maxActive,
    onFault: () => {},
  });
  const dependencies = {
    upstream,
    retrier,
    prices,
    runs,
    budgets: config.runs,
    heartbeatMs: config.server.heartbeat,
    tools: new ToolRegistry([tools]),
    defaults: { ...claude, messageTypes: loadMessageTypes([]) },
  };
  const call: Call = {
    record: { id: "c", method: "", protocol: "grpc", quiet: false, peer: "", caller: "orders", startedAt: 0 },
    signal: new AbortController().signal,
    deadline: Number.POSITIVE_INFINITY,
    header: () => undefined,
  };
  return {
    runs,
    async start(input, runCall) {
      const request: RunAgentRequest = create(RunAgentRequestSchema, input as never);
      return (await runs.start(newRun(request, "", call, dependencies), runCall)).record;
    },
    resume(record) {
      const budget = budgetWith(record.budget, undefined, config.runs);
      runs.resume(record, budget, runTask(record.request, "", call, dependencies), undefined);
    },
    async follow(record, after, onEvent = () => {}) {
      const events: AgentEvent[] = [];
      for await (const batch of runs.follow(record, after, call.signal)) {
        for (const { bytes } of batch) {
          const event = fromBinary(AgentEventSchema, bytes);
          events.push(event);
          onEvent(event);
        }
      }
      return events;
    },
    async [Symbol.asyncDispose]() {
      await runs[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}
