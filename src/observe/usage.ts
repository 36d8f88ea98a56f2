import type { Attributes } from "@opentelemetry/api";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import { attribute } from "./names.ts";

/** What Claude has used, as spans have it: they pass over what is undefined. */
export function usageAttributes(usage: Usage): Attributes {
  return {
    [attribute.inputTokens]: allInputTokens(usage),
    [attribute.outputTokens]: usage.outputTokens,
    [attribute.cacheReadTokens]: usage.cacheReadInputTokens,
    [attribute.cacheWriteTokens]: usage.cacheCreationInputTokens,
    [attribute.thinkingTokens]: usage.thinkingTokens,
    [attribute.costMicrosUsd]: usage.costMicrosUsd === undefined ? undefined : Number(usage.costMicrosUsd),
  };
}

/** Claude's `input_tokens` are only those that the prompt cache has nothing to do with. */
export function allInputTokens(usage: Usage): number {
  return usage.inputTokens + usage.cacheReadInputTokens + usage.cacheCreationInputTokens;
}
