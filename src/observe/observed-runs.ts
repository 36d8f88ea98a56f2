import {
  type Attributes,
  context as activeContext,
  type Context,
  type SpanContext,
  SpanKind,
} from "@opentelemetry/api";
import { BudgetKind, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { LoopObserver, ObservedToolCall, ObservedTurn } from "../agent/loop-observer.ts";
import { OutOfTime } from "../agent/time-limit.ts";
import type { ToolCall } from "../agent/tool-call.ts";
import { failureOf } from "../errors/connect-error.ts";
import { usageOf } from "../rpc/convert/response.ts";
import type { ObservedWork, RunObserver } from "../runs/run-observer.ts";
import type { RunRecord } from "../runs/run-record.ts";
import type { Tool, ToolTrace } from "../tools/tool.ts";
import type { RequestOrigin } from "../upstream/upstream.ts";
import { callContent, resultContent } from "./content.ts";
import type { Instruments } from "./instruments.ts";
import type { LabelValues } from "./label-values.ts";
import { attribute } from "./names.ts";
import { statusName } from "./status.ts";
import { endSpan, recordingSpan, spanContextOf, type Tracing } from "./tracing.ts";
import { usageAttributes } from "./usage.ts";

export interface ObservedRunsOptions {
  readonly instruments: Instruments;
  readonly tracing: Tracing;
  /** Whether spans carry the arguments and results of tools. */
  readonly captureContent: boolean;
  /** Names of tools. */
  readonly tools: LabelValues;
  /** Is told of each run that ends. */
  readonly onEnd: (record: RunRecord) => void;
}

/** What runs are called in traces. */
const AGENT = "parley";

/** Observes runs: a span for each stretch of work, with links from one to the next, and metrics. */
export function observeRuns({ instruments, tracing, onEnd }: ObservedRunsOptions): RunObserver {
  return {
    workStarted: (record, cause, before) => workStarted(record, cause, before, instruments, tracing),
    ended(record) {
      instruments.runsFinished.add(1, { [attribute.runState]: RunState[record.run.state] });
      onEnd(record);
    },
  };
}

function workStarted(
  record: RunRecord,
  cause: Context | undefined,
  before: SpanContext | undefined,
  instruments: Instruments,
  tracing: Tracing,
): ObservedWork {
  const { run, owner } = record;
  const { turns, toolCalls } = run;
  const startedAt = performance.now();
  const trace = tracing.start(
    `invoke_agent ${AGENT}`,
    {
      kind: SpanKind.INTERNAL,
      attributes: {
        [attribute.operation]: "invoke_agent",
        [attribute.agentName]: AGENT,
        [attribute.runId]: run.id,
        [attribute.caller]: owner,
      },
      links: before === undefined ? [] : [{ context: before }],
    },
    cause,
  );
  return {
    origin: { caller: owner, trace },
    span: spanContextOf(trace),
    ended() {
      const state = { [attribute.runState]: RunState[run.state] };
      instruments.runDuration.record((performance.now() - startedAt) / 1_000, state);
      instruments.runTurns.record(run.turns - turns, state);
      instruments.runToolCalls.record(run.toolCalls - toolCalls, state);
      const span = recordingSpan(trace);
      if (span === undefined) return;
      const { exhaustedBudget, usage } = run;
      span.setAttributes({
        ...state,
        [attribute.turns]: run.turns,
        [attribute.toolCalls]: run.toolCalls,
        ...(exhaustedBudget !== BudgetKind.UNSPECIFIED && { [attribute.exhaustedBudget]: BudgetKind[exhaustedBudget] }),
        ...(usage !== undefined && usageAttributes(usage)),
      });
      endSpan(span, record.failure === undefined ? undefined : failureOf(record.failure).reason);
    },
  };
}

/** Observes the loops of runs: a span for each turn and each tool call, and metrics of tools. */
export function observeLoop(options: ObservedRunsOptions): LoopObserver {
  return {
    turnStarted: (number, origin) => turnStarted(number, origin, options),
    toolCallStarted: (tool, call, origin) => toolCallStarted(tool, call, origin, options),
  };
}

function turnStarted(number: number, origin: RequestOrigin, { tracing }: ObservedRunsOptions): ObservedTurn {
  const attributes = { [attribute.turn]: number };
  const trace = tracing.start("turn", { kind: SpanKind.INTERNAL, attributes }, origin.trace);
  return {
    origin: { ...origin, trace },
    ended(answer, error) {
      const span = recordingSpan(trace);
      if (span === undefined) return;
      if (answer.begun) span.setAttributes(usageAttributes(usageOf(answer)));
      endSpan(span, error === undefined ? undefined : turnError(error));
    },
  };
}

/** A turn that was cut in favour of the last one has not failed by a fault of ours. */
function turnError(error: unknown): string {
  return error instanceof OutOfTime ? "DEADLINE_EXCEEDED" : failureOf(error).reason;
}

function toolCallStarted(
  tool: Tool,
  call: ToolCall,
  origin: RequestOrigin,
  { instruments, tracing, tools, captureContent }: ObservedRunsOptions,
): ObservedToolCall {
  const startedAt = performance.now();
  const trace = tracing.start(
    `execute_tool ${tool.name}`,
    {
      kind: SpanKind.INTERNAL,
      attributes: {
        [attribute.operation]: "execute_tool",
        [attribute.toolName]: tool.name,
        [attribute.toolCallId]: call.id,
        [attribute.toolType]: tool.grpcMethod === undefined ? "function" : "extension",
      },
    },
    origin.trace,
  );
  const name = { [attribute.toolName]: tools.admit(tool.name) };
  instruments.toolActive.add(1, name);
  return {
    trace: toolTrace(trace, tracing),
    run: (work) => (trace === undefined ? work() : activeContext.with(trace, work)),
    ended(outcome, reason) {
      const errorType = outcome === undefined ? failureOf(reason).reason : outcomeError(outcome);
      instruments.toolActive.add(-1, name);
      instruments.toolDuration.record((performance.now() - startedAt) / 1_000, {
        ...name,
        ...(errorType !== undefined && { [attribute.errorType]: errorType }),
      });
      const span = recordingSpan(trace);
      if (span === undefined) return;
      if (captureContent) {
        span.setAttributes(callContent(call));
        if (outcome !== undefined) span.setAttributes(resultContent(outcome));
      }
      endSpan(span, errorType);
    },
  };
}

/** What a tool call failed with: a gRPC status, or that the tool says so of itself. Undefined: it did not. */
function outcomeError({ failure, fault, result }: Parameters<ObservedToolCall["ended"]>[0] & {}): string | undefined {
  if (fault !== undefined) return "INTERNAL";
  if (failure !== undefined) return statusName(failure.code);
  return result.is_error === true ? "tool_error" : undefined;
}

function toolTrace(trace: Context | undefined, tracing: Tracing): ToolTrace {
  const request = (name: string, attributes: Attributes) => {
    const client = tracing.start(name, { kind: SpanKind.CLIENT, attributes }, trace);
    return {
      headers: tracing.headers(client),
      ended(errorType: string | undefined) {
        const span = recordingSpan(client);
        if (span !== undefined) endSpan(span, errorType);
      },
    };
  };
  return {
    grpcRequest: (method, target) =>
      request(method, {
        [attribute.rpcSystem]: "grpc",
        [attribute.rpcMethod]: method,
        [attribute.serverAddress]: target,
      }),
    mcpRequest: (tool) =>
      request(`tools/call ${tool}`, { [attribute.mcpMethod]: "tools/call", [attribute.toolName]: tool }),
  };
}
