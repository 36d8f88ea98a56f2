import type { MessageDeltaUsage, ServerToolUsage, Usage } from "@anthropic-ai/sdk/resources/messages/messages.js";
import type { PromptUsage } from "./prompt-cache.ts";

/** What an answer cost to write. */
export interface OutputUsage {
  readonly tokens: number;
  /** The part of `tokens` that went into thinking, also when the thinking is not returned. */
  readonly thinkingTokens: number;
  readonly serverTools: ServerToolUsage | null;
}

/** The request's choices that are reported back. */
export interface UsageSettings {
  readonly speed?: "standard" | "fast" | null | undefined;
  readonly inferenceGeo?: string | null | undefined;
}

/** The `usage` of a whole message. */
export function createUsage(prompt: PromptUsage, output: OutputUsage, settings: UsageSettings): Usage {
  return {
    input_tokens: prompt.input,
    cache_creation_input_tokens: prompt.cacheWrite5m + prompt.cacheWrite1h,
    cache_read_input_tokens: prompt.cacheRead,
    cache_creation: {
      ephemeral_5m_input_tokens: prompt.cacheWrite5m,
      ephemeral_1h_input_tokens: prompt.cacheWrite1h,
    },
    output_tokens: output.tokens,
    output_tokens_details: { thinking_tokens: output.thinkingTokens },
    server_tool_use: output.serverTools,
    service_tier: "standard",
    speed: settings.speed ?? "standard",
    inference_geo: settings.inferenceGeo ?? "global",
  };
}

/** The `usage` of `message_start`: the whole prompt, and the first token of the answer. */
export function startUsage(usage: Usage): Usage {
  return {
    ...usage,
    output_tokens: Math.min(1, usage.output_tokens),
    output_tokens_details: null,
    server_tool_use: null,
  };
}

/** The `usage` of `message_delta`, which is cumulative: it replaces that of `message_start`. */
export function deltaUsage(usage: Usage): MessageDeltaUsage {
  return {
    input_tokens: usage.input_tokens,
    cache_creation_input_tokens: usage.cache_creation_input_tokens,
    cache_read_input_tokens: usage.cache_read_input_tokens,
    output_tokens: usage.output_tokens,
    output_tokens_details: usage.output_tokens_details,
    server_tool_use: usage.server_tool_use,
  };
}
