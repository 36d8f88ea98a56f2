import { create, fromJson, type MessageInitShape } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema, timestampNow } from "@bufbuild/protobuf/wkt";
import {
  type ChatResponse,
  ChatResponseSchema,
  type ContainerSchema,
  type ContainerSkillSchema,
  type DiagnosticsSchema,
  type StopDetailsSchema,
  StopReason,
} from "../../../gen/parley/v1/chat_service_pb.js";
import { type Usage, UsageSchema } from "../../../gen/parley/v1/usage_pb.js";
import type { PriceTable } from "../../agent/prices.ts";
import type { Answer, AnswerUsage } from "../../upstream/answer.ts";
import { blockFromMembers } from "./blocks-from-claude.ts";
import { Mismatch, Reader } from "./reader.ts";

/** A complete answer. */
export function chatResponse(answer: Answer, prices: PriceTable): ChatResponse {
  const reader = new Reader(answer.message);
  reader.raw("type");
  reader.raw("role");
  return create(ChatResponseSchema, {
    id: reader.string("id"),
    model: reader.string("model"),
    content: answer.blocks.map(blockFromMembers),
    ...readStop(reader),
    usage: usageOf(answer, prices),
    upstreamRequestId: answer.requestId ?? "",
    createTime: timestampNow(),
    container: reader.attempt("container", readContainer),
    diagnostics: reader.attempt("diagnostics", readDiagnostics),
    extraJson: reader.extraJson(),
  });
}

/** Usages by what they were made from: the events, the answer and the log line tell the same one. */
const usages = new WeakMap<AnswerUsage, Usage>();

/** What an answer has used so far, and cost. Not to be changed: others may hold the same. */
export function usageOf(answer: Answer, prices: PriceTable): Usage {
  const source = answer.usage;
  let usage = usages.get(source);
  if (usage === undefined) {
    usage = usageFromClaude(new Reader(source.members));
    usage.outputTokensEstimated = source.outputIsEstimated;
    const cost = prices.costMicrosUsd(answer.text("model"), source.members);
    // Numbers that are none of tokens cost what nobody can tell.
    if (cost !== undefined && Number.isSafeInteger(cost)) usage.costMicrosUsd = BigInt(cost);
    usages.set(source, usage);
  }
  return usage;
}

/** Claude's usage. A number that is no 32-bit integer, or below 0, stays in `extra_json`. */
export function usageFromClaude(reader: Reader): Usage {
  const count = (name: string) => reader.attempt(name, (usage) => usage.optionalCount(name)) ?? 0;
  const counts = (name: string, member: string) =>
    reader.attempt(name, (usage) => usage.nested(name)?.attempt(member, (part) => part.optionalCount(member)));
  const text = (name: string) => reader.attempt(name, (usage) => usage.string(name)) ?? "";
  return create(UsageSchema, {
    inputTokens: count("input_tokens"),
    outputTokens: count("output_tokens"),
    cacheCreationInputTokens: count("cache_creation_input_tokens"),
    cacheReadInputTokens: count("cache_read_input_tokens"),
    cacheCreation5mInputTokens: counts("cache_creation", "ephemeral_5m_input_tokens"),
    cacheCreation1hInputTokens: counts("cache_creation", "ephemeral_1h_input_tokens"),
    thinkingTokens: counts("output_tokens_details", "thinking_tokens"),
    webSearchRequests: counts("server_tool_use", "web_search_requests"),
    webFetchRequests: counts("server_tool_use", "web_fetch_requests"),
    serviceTier: text("service_tier"),
    speed: text("speed"),
    inferenceGeo: text("inference_geo"),
    extraJson: reader.extraJson(),
  });
}

const stopReasons = new Map([
  ["end_turn", StopReason.END_TURN],
  ["max_tokens", StopReason.MAX_TOKENS],
  ["stop_sequence", StopReason.STOP_SEQUENCE],
  ["tool_use", StopReason.TOOL_USE],
  ["pause_turn", StopReason.PAUSE_TURN],
  ["refusal", StopReason.REFUSAL],
  ["model_context_window_exceeded", StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED],
]);

/** The fields about why Claude stopped, which `message_delta` and the message share. */
export function readStop(reader: Reader) {
  const rawStopReason = reader.attempt("stop_reason", (message) => message.string("stop_reason")) ?? "";
  return {
    stopReason: stopReasons.get(rawStopReason) ?? StopReason.UNSPECIFIED,
    rawStopReason,
    stopSequence: reader.attempt("stop_sequence", (message) => message.optionalString("stop_sequence")),
    stopDetails: reader.attempt("stop_details", readStopDetails),
  };
}

function readStopDetails(reader: Reader): MessageInitShape<typeof StopDetailsSchema> | undefined {
  const text = reader.raw("stop_details");
  if (text === undefined) return undefined;
  const details = Reader.of(text);
  return {
    type: details.string("type"),
    category: details.optionalString("category"),
    explanation: details.optionalString("explanation"),
    extraJson: details.extraJson(),
  };
}

/** The `container` member, which `message_delta` and the message share. */
export function readContainer(reader: Reader): MessageInitShape<typeof ContainerSchema> | undefined {
  const container = reader.nested("container");
  return (
    container && {
      id: container.string("id"),
      expireTime: readTime(container, "expires_at"),
      skills: container.list("skills").map(readSkill),
    }
  );
}

function readSkill(text: string): MessageInitShape<typeof ContainerSkillSchema> {
  const skill = Reader.of(text);
  const read = { skillId: skill.string("skill_id"), type: skill.string("type"), version: skill.string("version") };
  if (skill.extraJson() !== "") throw new Mismatch("a skill has members that have no field");
  return read;
}

function readDiagnostics(reader: Reader): MessageInitShape<typeof DiagnosticsSchema> | undefined {
  const diagnostics = reader.nested("diagnostics");
  if (diagnostics === undefined) return undefined;
  const reason = diagnostics.nested("cache_miss_reason");
  return {
    cacheMissReason: reason?.string("type") ?? "",
    cacheMissedInputTokens: reason?.optionalInt("cache_missed_input_tokens"),
  };
}

/** A time in RFC 3339. */
export function readTime(reader: Reader, name: string): Timestamp | undefined {
  const text = reader.optionalString(name);
  if (text === undefined) return undefined;
  try {
    return fromJson(TimestampSchema, text);
  } catch {
    throw new Mismatch(`${name} is not a time`);
  }
}
