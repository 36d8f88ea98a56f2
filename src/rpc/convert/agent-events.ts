import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import { type Status, StatusSchema } from "../../../gen/google/rpc/status_pb.js";
import { ActionKind, type PendingActionSchema } from "../../../gen/parley/v1/agent_service_pb.js";
import { type ToolResultBlock, ToolResultBlockSchema } from "../../../gen/parley/v1/content_pb.js";
import { type Usage, UsageSchema } from "../../../gen/parley/v1/usage_pb.js";
import type { LoopEvent, PendingAction } from "../../agent/loop-event.ts";
import type { PriceTable } from "../../agent/prices.ts";
import type { ToolOutcome } from "../../agent/tool-call.ts";
import { toConnectError } from "../../errors/connect-error.ts";
import { budgetKinds } from "../../runs/budget-kinds.ts";
import type { EventKind, RunFormat } from "../../runs/run-format.ts";
import type { Answer } from "../../upstream/answer.ts";
import { restoreRawJson } from "../../upstream/raw-json.ts";
import { blockFromClaude } from "./blocks-from-claude.ts";
import { eventFromClaude } from "./events.ts";
import { Reader } from "./reader.ts";
import { readStop, usageOf } from "./response.ts";

/** What happens in a run, in the words of the proto. `usage` tells what an answer has cost so far. */
export function agentEvent(event: LoopEvent, usage: (answer: Answer) => Usage): EventKind {
  switch (event.kind) {
    case "message": {
      const value = eventFromClaude(event.event, event.answer.requestId);
      value.sequence = event.sequence;
      // Claude's `message_delta` leaves out numbers that have not changed.
      if (value.event.case === "messageDelta") value.event.value.usage = usage(event.answer);
      return { case: "messageEvent", value };
    }
    case "turn_started": {
      const { turn, exhausted } = event;
      return {
        case: "turnStarted",
        value: { turn, ...(exhausted !== undefined && { exhaustedBudget: budgetKinds[exhausted] }) },
      };
    }
    case "tool_call_started": {
      const { turn, call, timeout } = event;
      const { id: toolUseId, name, inputJson } = call;
      return {
        case: "toolCallStarted",
        value: { turn, toolUseId, name, inputJson, timeout: durationFromMs(Math.round(timeout)) },
      };
    }
    case "tool_call_progress":
      return { case: "toolCallProgress", value: { toolUseId: event.call.id, message: event.message.toWellFormed() } };
    case "tool_call_finished": {
      const { call, outcome, duration } = event;
      return {
        case: "toolCallFinished",
        value: {
          toolUseId: call.id,
          result: toolResult(outcome),
          ...(outcome.failure !== undefined && {
            status: { code: outcome.failure.code, message: outcome.failure.message.toWellFormed() },
          }),
          duration: durationFromMs(Math.round(duration)),
        },
      };
    }
    case "turn_finished": {
      const { turn, answer, isComplete } = event;
      const { stopReason, rawStopReason } = readStop(new Reader(isComplete ? answer.message : new Map()));
      return { case: "turnFinished", value: { turn, usage: usage(answer), stopReason, rawStopReason } };
    }
  }
}

function toolResult({ result }: ToolOutcome): ToolResultBlock {
  const { kind } = blockFromClaude(restoreRawJson(JSON.stringify(result)));
  if (kind.case === "toolResult") return kind.value;
  // It has a form that only Claude knows.
  return create(ToolResultBlockSchema, { toolUseId: result.tool_use_id, isError: result.is_error === true });
}

/** What a run waits for. */
export function pendingAction({ call, kind }: PendingAction): MessageInitShape<typeof PendingActionSchema> {
  return {
    toolUseId: call.id,
    name: call.name,
    inputJson: call.inputJson,
    kind: kind === "execute" ? ActionKind.EXECUTE : ActionKind.APPROVE,
  };
}

/** An error as `google.rpc.Status`, with all its details. */
export function statusOf(error: unknown, callId: string): Status {
  const { code, rawMessage, details } = toConnectError(error, { id: callId, chatPath: "chat." });
  return create(StatusSchema, {
    code,
    message: rawMessage,
    details: details.flatMap((detail) =>
      "desc" in detail ? [anyPack(detail.desc, create(detail.desc, detail.value))] : [],
    ),
  });
}

/** The largest number that a count has room for: int32. */
const MAX_COUNT = 2 ** 31 - 1;

const counts = [
  "inputTokens",
  "outputTokens",
  "cacheCreationInputTokens",
  "cacheReadInputTokens",
] as const satisfies (keyof Usage)[];
const optionalCounts = [
  "cacheCreation5mInputTokens",
  "cacheCreation1hInputTokens",
  "thinkingTokens",
  "webSearchRequests",
  "webFetchRequests",
] as const satisfies (keyof Usage)[];

/** What two parts of a run cost together. Its cost in money is known only if that of both is. */
export function sumOfUsage(one: Usage | undefined, other: Usage): Usage {
  if (one === undefined) return other;
  const sum = create(UsageSchema, {
    serviceTier: other.serviceTier,
    speed: other.speed,
    inferenceGeo: other.inferenceGeo,
    outputTokensEstimated: one.outputTokensEstimated || other.outputTokensEstimated,
  });
  for (const name of counts) sum[name] = Math.min(one[name] + other[name], MAX_COUNT);
  for (const name of optionalCounts) {
    const parts = [one[name], other[name]].filter((part) => part !== undefined);
    if (parts.length > 0)
      sum[name] = Math.min(
        parts.reduce((total, part) => total + part),
        MAX_COUNT,
      );
  }
  if (one.costMicrosUsd !== undefined && other.costMicrosUsd !== undefined) {
    sum.costMicrosUsd = one.costMicrosUsd + other.costMicrosUsd;
  }
  return sum;
}

/** How all runs are told. */
export function createRunFormat(prices: PriceTable): RunFormat {
  const usage = (answer: Answer) => usageOf(answer, prices);
  return {
    event: (event) => agentEvent(event, usage),
    action: pendingAction,
    usage,
    sum: sumOfUsage,
    status: statusOf,
  };
}
