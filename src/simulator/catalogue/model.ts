import type { OutputConfig, ThinkingConfigParam } from "@anthropic-ai/sdk/resources/messages/messages.js";
import type { ModelInfo } from "@anthropic-ai/sdk/resources/models.js";

/** How hard a model can be asked to work, from least to most. */
export const EFFORT_LEVELS = ["low", "medium", "high", "xhigh", "max"] as const satisfies NonNullable<
  OutputConfig["effort"]
>[];

/** A level of `output_config.effort`. */
export type Effort = (typeof EFFORT_LEVELS)[number];

/** The values of `thinking.type`. */
export type ThinkingType = ThinkingConfigParam["type"];

/** A model as `/v1/models` shows it, with what the catalogue does not show but the API enforces. */
export interface SimulatedModel {
  readonly info: ModelInfo;
  /** Shorter names that resolve to this model. */
  readonly aliases: readonly string[];
  /** Context window in tokens. */
  readonly contextWindow: number;
  /** Largest accepted `max_tokens`. */
  readonly maxTokens: number;
  readonly thinkingTypes: readonly ThinkingType[];
  /** Whether `disabled` and `between_tools` are refused at effort `xhigh` and `max`. */
  readonly thinkingOffNeedsLowEffort: boolean;
  /** What `thinking.display` means when the request leaves it out. */
  readonly display: "summarized" | "omitted";
  /** Supported effort levels; empty when the model does not take the parameter. */
  readonly effort: readonly Effort[];
  /** Whether the last message may be an assistant message to be continued. */
  readonly prefill: boolean;
  /** Whether `tool_choice` may force a tool. */
  readonly forcedToolUse: boolean;
  /** Whether `messages` may hold messages with the role `system`. */
  readonly systemMessages: boolean;
  /** Shortest prompt prefix, in tokens, that is cached. */
  readonly minimumCacheTokens: number;
}

/** Finds a model by its identifier or an alias. */
export function findModel(models: readonly SimulatedModel[], name: string): SimulatedModel | undefined {
  return models.find((model) => model.info.id === name || model.aliases.includes(name));
}
