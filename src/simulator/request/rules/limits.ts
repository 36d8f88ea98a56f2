import { invalidRequest } from "../../server/api-error.ts";
import type { Rule } from "./rule.ts";

/** `max_tokens` against the model, and what a request that generates nothing cannot ask for. */
export const maxTokensRule: Rule = ({ request, model }) => {
  const { max_tokens: maxTokens } = request;
  if (maxTokens === undefined) return;
  if (maxTokens > model.maxTokens) {
    throw invalidRequest(
      `${maxTokens} > ${model.maxTokens}, which is the maximum allowed number of output tokens for ${model.info.id}`,
      "max_tokens",
    );
  }
  if (maxTokens > 0) return;
  const choice = request.tool_choice?.type;
  const clash = request.stream
    ? "stream"
    : request.output_config?.format
      ? "output_config.format"
      : choice === "any" || choice === "tool"
        ? `tool_choice of type ${choice}`
        : undefined;
  if (clash) throw invalidRequest(`0 generates no output and cannot be combined with ${clash}`, "max_tokens");
};

/** Stop sequences must be able to occur. */
export const stopSequencesRule: Rule = ({ request }) => {
  if (request.stop_sequences?.some((sequence) => sequence.trim() === "")) {
    throw invalidRequest("each stop sequence must contain non-whitespace", "stop_sequences");
  }
};
