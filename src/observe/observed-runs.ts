import { type Attributes, context as activeContext, type Context, SpanKind } from "@opentelemetry/api";
import { BudgetKind, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { LoopObserver, ObservedToolCall, ObservedTurn } from "../agent/loop-observer.ts";
import type { PriceTable } from "../agent/prices.ts";
import { OutOfTime } from "../agent/time-limit.ts";
import type { ToolCall, ToolOutcome } from "../agent/tool-call.ts";
import { failureOf } from "../errors/connect-error.ts";
import { usageOf } from "../rpc/convert/response.ts";
import type { ObservedWork, RunObserver } from "../runs/run-observer.ts";
import type { RunRecord } from "../runs/run-record.ts";
import type { Tool, ToolTrace, TracedRequest } from "../tools/tool.ts";
import { logRun } from "./call-log.ts";
import { callContent, resultContent } from "./content.ts";
import type { Instruments } from "./instruments.ts";
import type { Labels } from "./label-values.ts";
import type { Logger } from "./logger.ts";
import { attribute } from "./names.ts";
import { statusName } from "./status.ts";
import { endSpan, recordingSpan, spanContextOf, type Tracing } from "./tracing.ts";
import { usageAttributes } from "./usage.ts";

export interface ObservedRunsOptions {
  readonly instruments: Instruments;
  readonly tracing: Tracing;
  /** Whether spans carry the arguments and results of tools. */
  readonly captureContent: boolean;
  readonly labels: Labels;
  readonly prices: PriceTable;
  readonly logger: Logger;
}

/** What runs are called in traces. */
const AGENT = "parley";

/** Observes runs: a span for each stretch of work, with links from one to the next, and metrics. */
export function observeRuns(options: ObservedRunsOptions): RunObserver {
  const { instruments, logger } = options;
  return {
    workStarted: (record, cause) => workStarted(record, cause, options),
    ended(record) {
      const { run, failure } = record;
      instruments.runsFinished.add(1, { [attribute.runState]: RunState[run.state] });
      const alert = failure === undefined ? undefined : failureOf(failure).alert;
      if (alert !== undefined) instruments.alerts.add(1, { [attribute.alert]: alert });
      logRun(logger, record);
    },
  };
}

function workStarted(
  record: RunRecord,
  cause: Context | undefined,
  { instruments, tracing }: ObservedRunsOptions,
): ObservedWork {
  const { run, owner, span: before } = record;
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
    trace,
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
    turnStarted: (number, trace) => turnStarted(number, trace, options),
    toolCallStarted: (tool, call, trace) => toolCallStarted(tool, call, trace, options),
  };
}

function turnStarted(
  number: number,
  work: Context | undefined,
  { tracing, prices }: ObservedRunsOptions,
): ObservedTurn {
  const attributes = { [attribute.turn]: number };
  const trace = tracing.start("turn", { kind: SpanKind.INTERNAL, attributes }, work);
  return {
    trace,
    ended(answer, error) {
      const span = recordingSpan(trace);
      if (span === undefined) return;
      if (answer.begun) span.setAttributes(usageAttributes(usageOf(answer, prices)));
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
  work: Context | undefined,
  { instruments, tracing, labels, captureContent }: ObservedRunsOptions,
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
      },
    },
    work,
  );
  const name = { [attribute.toolName]: labels.tools.admit(tool.name) };
  instruments.toolActive.add(1, name);
  return {
    trace: toolTrace(trace, tracing),
    run: (work) => (trace === undefined ? work() : activeContext.with(trace, work)),
    ended(outcome, reason) {
      const errorType = outcome === undefined ? failureOf(reason).reason : outcomeError(outcome);
      instruments.toolActive.add(-1, name);
      instruments.toolDuration.record((performance.now() - startedAt) / 1_000, {
        ...name,
        ...(errorType !== undefined && { [attribute.errorType]: labels.reasons.admit(errorType) }),
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
function outcomeError({ failure, fault, result }: ToolOutcome): string | undefined {
  if (fault !== undefined) return "INTERNAL";
  if (failure !== undefined) return statusName(failure.code);
  return result.is_error === true ? "tool_error" : undefined;
}

function toolTrace(trace: Context | undefined, tracing: Tracing): ToolTrace {
  const begin = (name: string, attributes: Attributes) =>
    tracing.start(name, { kind: SpanKind.CLIENT, attributes }, trace);
  return {
    grpcRequest(method, target) {
      const request = begin(method, {
        [attribute.rpcSystem]: "grpc",
        [attribute.rpcMethod]: method,
        [attribute.serverAddress]: target,
      });
      return tracedRequest(request, tracing.headers(request));
    },
    mcpRequest(tool) {
      const attributes = { [attribute.mcpMethod]: "tools/call", [attribute.toolName]: tool };
      const request = begin(`tools/call ${tool}`, attributes);
      // MCP has members for these alone.
      return tracedRequest(request, tracing.w3cHeaders(request));
    },
  };
}

function tracedRequest(request: Context | undefined, headers: Record<string, string>): TracedRequest {
  return {
    headers,
    ended(errorType) {
      const span = recordingSpan(request);
      if (span !== undefined) endSpan(span, errorType);
    },
  };
}
