import { createHash } from "node:crypto";
import type {
  ContainerParams,
  MessageCountTokensParams,
  MessageCreateParamsStreaming,
  OutputConfig as OutputConfigParam,
  ThinkingConfigParam,
  ToolChoice as ToolChoiceParam,
  Tool as ToolParam,
  ToolUnion,
} from "@anthropic-ai/sdk/resources/messages";
import {
  type ChatRequest,
  type ContainerConfig,
  type CustomTool,
  Effort,
  type OutputConfig,
  type ThinkingConfig,
  ThinkingDisplay,
  type ToolChoice,
  type ToolDefinition,
} from "../../../gen/parley/v1/chat_service_pb.js";
import { withCacheBreakpoints } from "../../agent/prompt-cache.ts";
import type { TurnRequest } from "../../agent/turn.ts";
import type { MessageTypes } from "../../descriptors/message-types.ts";
import { invalidField, ParleyError } from "../../errors/parley-error.ts";
import { RawJson } from "../../upstream/raw-json.ts";
import { textOrBlocks, toCacheControl, toClaudeMessage } from "./blocks-to-claude.ts";
import { objectMembers, rawObject, withExtra } from "./exact.ts";
import { answerSchema } from "./structured-output.ts";

/** What a request gets that leaves something open, and what it may ask for. */
export interface ChatDefaults {
  readonly model: string;
  readonly maxTokens: number;
  readonly fallbackModels: readonly string[];
  /** Beta features that requests may use. `*` stands for all. */
  readonly allowedBetas: readonly string[];
  /** Members that `extra_params_json` may have. `*` stands for all. */
  readonly allowedExtraParams: readonly string[];
  /** Whether Parley sets prompt-cache breakpoints; outside of runs, after prefixes of so many bytes and more. */
  readonly promptCaching: { readonly enabled: boolean; readonly minPrefix: number };
  /** The types that `output_config.message_type` may name. */
  readonly messageTypes: MessageTypes;
}

/**
 * A request for Claude. `prefix` is the path of the ChatRequest in the request message (`""` or `"chat."`), for errors.
 *
 * @throws {ParleyError} INVALID_REQUEST, NOT_ALLOWED, NOT_IMPLEMENTED.
 */
export function toTurnRequest(chat: ChatRequest, prefix: string, defaults: ChatDefaults): TurnRequest {
  refuseRequestId(chat, prefix);
  const params = toParams(chat, prefix, defaults, noTool);
  checkThinkingBudget(chat, params.max_tokens, prefix);
  return { params: cached(params, chat, defaults), betas: chat.betas, fallbackModels: fallbackModels(chat, defaults) };
}

/** What finds the tools that Parley runs: the definition for Claude of the one of that name. `field` is its path. */
export type FindTool = (name: string, field: string) => ToolUnion;

/**
 * What each turn of a run asks, with the messages that it begins with. Parameters and errors as those of `toTurnRequest`;
 * also throws what `findTool` does.
 */
export function toRunTurn(chat: ChatRequest, prefix: string, defaults: ChatDefaults, findTool: FindTool): TurnRequest {
  const params = toParams(chat, prefix, defaults, findTool);
  checkThinkingBudget(chat, params.max_tokens, prefix);
  return { params, betas: chat.betas, fallbackModels: fallbackModels(chat, defaults) };
}

function cached(
  params: MessageCreateParamsStreaming,
  { disablePromptCaching }: ChatRequest,
  { promptCaching: { enabled, minPrefix } }: ChatDefaults,
): MessageCreateParamsStreaming {
  if (!enabled || disablePromptCaching) return params;
  return withCacheBreakpoints(params, { loop: false, minPrefixBytes: minPrefix });
}

function toParams(
  chat: ChatRequest,
  prefix: string,
  defaults: ChatDefaults,
  findTool: FindTool,
): MessageCreateParamsStreaming {
  refuseUnimplemented(chat, prefix);
  const forbidden = chat.betas.findIndex((beta) => !allows(defaults.allowedBetas, beta));
  if (forbidden !== -1) throw notAllowed(`${prefix}betas[${forbidden}]`, "it", defaults.allowedBetas);
  const params: MessageCreateParamsStreaming = {
    model: chat.model || defaults.model,
    max_tokens: chat.maxTokens ?? defaults.maxTokens,
    stream: true,
    messages: chat.messages.map((message, index) => toClaudeMessage(message, `${prefix}messages[${index}]`)),
    ...(chat.system !== undefined && { system: textOrBlocks(chat.system, `${prefix}system`) as never }),
    ...(chat.stopSequences.length > 0 && { stop_sequences: chat.stopSequences }),
    ...(chat.thinking !== undefined && { thinking: toThinking(chat.thinking) }),
    ...(chat.outputConfig !== undefined && {
      output_config: toOutputConfig(chat.outputConfig, `${prefix}output_config`, defaults.messageTypes),
    }),
    ...(chat.tools.length > 0 && {
      tools: chat.tools.map((tool, index) => toTool(tool, `${prefix}tools[${index}]`, findTool)),
    }),
    ...(chat.toolChoice !== undefined && { tool_choice: toToolChoice(chat.toolChoice) }),
    ...(chat.cacheControl !== undefined && { cache_control: toCacheControl(chat.cacheControl) }),
    ...(chat.serviceTier !== "" && { service_tier: chat.serviceTier as "auto" }),
    ...(chat.speed !== "" && { speed: chat.speed as "fast" }),
    ...(chat.inferenceGeo !== "" && { inference_geo: chat.inferenceGeo }),
    ...(chat.endUserId !== "" && { metadata: { user_id: hash(chat.endUserId) } }),
    ...(chat.container !== undefined && toContainer(chat.container)),
    ...(chat.diagnostics !== undefined && {
      diagnostics: { previous_message_id: chat.diagnostics.previousMessageId || null },
    }),
    ...(chat.userProfileId !== "" && { user_profile_id: chat.userProfileId }),
  };
  return withExtraParams(params, chat.extraParamsJson, `${prefix}extra_params_json`, defaults);
}

function fallbackModels(chat: ChatRequest, defaults: ChatDefaults): readonly string[] {
  if (chat.disableFallback) return [];
  return chat.fallbackModels.length > 0 ? chat.fallbackModels : defaults.fallbackModels;
}

/** Members of a request for an answer that one to count tokens does not have. */
const NOT_COUNTED = new Set([
  "container",
  "diagnostics",
  "inference_geo",
  "max_tokens",
  "metadata",
  "service_tier",
  "stop_sequences",
  "stream",
]);

/** A request to count tokens. Parameters as those of `toTurnRequest`, and throws as it does. */
export function toCountTokensParams(
  chat: ChatRequest,
  prefix: string,
  defaults: ChatDefaults,
  findTool: FindTool,
): MessageCountTokensParams {
  refuseRequestId(chat, prefix);
  const params = Object.entries(toParams(chat, prefix, defaults, findTool));
  return Object.fromEntries(params.filter(([name]) => !NOT_COUNTED.has(name))) as unknown as MessageCountTokensParams;
}

function refuseUnimplemented(chat: ChatRequest, prefix: string): void {
  if (chat.conversationId !== "") throw notImplemented(`${prefix}conversation_id`);
}

/** Of all calls, only those that start a run can be made idempotent. */
function refuseRequestId(chat: ChatRequest, prefix: string): void {
  if (chat.requestId !== "") throw notImplemented(`${prefix}request_id`);
}

function notImplemented(field: string): ParleyError {
  const description = "is not available in this version of Parley";
  return new ParleyError("NOT_IMPLEMENTED", `${field} ${description}`, { violations: [{ field, description }] });
}

/** One answer makes no tool calls. */
const noTool: FindTool = (_, field) => {
  throw invalidField(field, "is for runs only, in which Parley makes the calls: use RunAgent or CreateRun");
};

function allows(allowed: readonly string[], name: string): boolean {
  return allowed.includes(name) || allowed.includes("*");
}

function notAllowed(field: string, what: string, allowed: readonly string[]): ParleyError {
  const which = allowed.length === 0 ? "allows none" : `allows only ${allowed.join(", ")}`;
  const description = `${what} is not allowed: the configuration of this service ${which}`;
  return new ParleyError("NOT_ALLOWED", `${field}: ${description}`, { violations: [{ field, description }] });
}

/** The rule of the proto for the case that it cannot see: `max_tokens` is the service's default. */
function checkThinkingBudget(chat: ChatRequest, maxTokens: number, prefix: string): void {
  const mode = chat.thinking?.mode;
  if (mode?.case === "enabled" && mode.value.budgetTokens >= maxTokens) {
    throw invalidField(
      `${prefix}thinking.enabled.budget_tokens`,
      `must be below max_tokens, which is ${maxTokens}${chat.maxTokens === undefined ? " by default" : ""}`,
    );
  }
}

/** Parameters of the SDK's methods that it sends as headers. */
const SDK_ONLY = new Set(["workspace_id", "user_profile_id"]);

function withExtraParams<T extends object>(params: T, json: string, field: string, defaults: ChatDefaults): T {
  if (json === "") return params;
  const extra = objectMembers(json, field);
  for (const name of extra.keys()) {
    if (!allows(defaults.allowedExtraParams, name)) throw notAllowed(field, name, defaults.allowedExtraParams);
    if (Object.hasOwn(params, name)) throw invalidField(field, `must not have ${name}, which the request sets already`);
    if (SDK_ONLY.has(name)) throw invalidField(field, `must not have ${name}, which is no member of Claude's request`);
  }
  const members = Array.from(extra, ([name, text]) => [name, new RawJson(text)] as const);
  return { ...params, ...Object.fromEntries(members) };
}

const displays = { [ThinkingDisplay.SUMMARIZED]: "summarized", [ThinkingDisplay.OMITTED]: "omitted" } as const;

function toThinking({ mode }: ThinkingConfig): ThinkingConfigParam {
  const display = (value: ThinkingDisplay) =>
    value in displays ? { display: displays[value as keyof typeof displays] } : {};
  switch (mode.case) {
    case "adaptive":
      return { type: "adaptive", ...display(mode.value.display) };
    case "enabled":
      return { type: "enabled", budget_tokens: mode.value.budgetTokens, ...display(mode.value.display) };
    case "betweenTools":
      return { type: "between_tools" };
    default:
      return { type: "disabled" };
  }
}

const efforts = {
  [Effort.LOW]: "low",
  [Effort.MEDIUM]: "medium",
  [Effort.HIGH]: "high",
  [Effort.XHIGH]: "xhigh",
  [Effort.MAX]: "max",
} as const;

function toOutputConfig(config: OutputConfig, field: string, types: MessageTypes): OutputConfigParam {
  const { effort } = config;
  const schema = answerSchema(config, field, types);
  return {
    ...(effort in efforts && { effort: efforts[effort as keyof typeof efforts] }),
    ...(schema !== undefined && { format: { type: "json_schema", schema: schema as never } }),
  };
}

function toTool({ kind }: ToolDefinition, field: string, findTool: FindTool): ToolUnion {
  if (kind.case === "custom") return toCustomTool(kind.value, `${field}.custom`);
  if (kind.case === "registeredTool") return findTool(kind.value, `${field}.registered_tool`);
  return rawObject(String(kind.value), `${field}.native_json`) as unknown as ToolUnion;
}

function toCustomTool(tool: CustomTool, field: string): ToolParam {
  const examples = tool.inputExamplesJson.map((text, index) =>
    rawObject(text, `${field}.input_examples_json[${index}]`),
  );
  const param: ToolParam = {
    name: tool.name,
    ...(tool.description !== "" && { description: tool.description }),
    input_schema: rawObject(tool.inputSchemaJson, `${field}.input_schema_json`) as never,
    ...(tool.strict !== undefined && { strict: tool.strict }),
    ...(tool.deferLoading !== undefined && { defer_loading: tool.deferLoading }),
    ...(tool.eagerInputStreaming !== undefined && { eager_input_streaming: tool.eagerInputStreaming }),
    ...(tool.allowedCallers.length > 0 && { allowed_callers: tool.allowedCallers as never }),
    ...(examples.length > 0 && { input_examples: examples as never }),
    ...(tool.cacheControl !== undefined && { cache_control: toCacheControl(tool.cacheControl) }),
  };
  return withExtra(param, tool.extraJson, `${field}.extra_json`);
}

function toToolChoice({ mode }: ToolChoice): ToolChoiceParam {
  switch (mode.case) {
    case "auto":
      return { type: "auto", ...sequential(mode.value) };
    case "any":
      return { type: "any", ...sequential(mode.value) };
    case "tool":
      return { type: "tool", name: mode.value.name, ...sequential(mode.value) };
    default:
      return { type: "none" };
  }
}

function sequential({ disableParallelToolUse }: { disableParallelToolUse: boolean }) {
  return disableParallelToolUse ? { disable_parallel_tool_use: true } : {};
}

function toContainer({ id, skills }: ContainerConfig): { container?: string | ContainerParams } {
  if (skills.length === 0) return id === "" ? {} : { container: id };
  return {
    container: {
      ...(id !== "" && { id }),
      skills: skills.map(({ skillId, type, version }) => ({
        skill_id: skillId,
        type: type as "custom",
        ...(version !== "" && { version }),
      })),
    },
  };
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
