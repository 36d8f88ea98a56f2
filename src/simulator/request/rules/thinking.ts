import { EFFORT_LEVELS, type SimulatedModel, type ThinkingType } from "../../catalogue/model.ts";
import { invalidRequest } from "../../server/api-error.ts";
import { alternatives } from "../schema/wording.ts";
import type { Rule } from "./rule.ts";

/** The thinking type must be one the model has, fit the effort level, and leave room for an answer. */
export const thinkingRule: Rule = ({ request, model }) => {
  const { thinking } = request;
  if (!thinking) return;
  if (!model.thinkingTypes.includes(thinking.type)) throw invalidRequest(refusal(thinking.type, model));
  const effort = request.output_config?.effort;
  const off = thinking.type === "disabled" || thinking.type === "between_tools";
  if (off && model.thinkingOffNeedsLowEffort && (effort === "xhigh" || effort === "max")) {
    throw invalidRequest(`"thinking.type.${thinking.type}" is not supported with "output_config.effort" '${effort}'`);
  }
  if (thinking.type !== "enabled") return;
  if (request.max_tokens !== undefined && thinking.budget_tokens >= request.max_tokens) {
    throw invalidRequest("`max_tokens` must be greater than `thinking.budget_tokens`.");
  }
  if (request.tool_choice?.type === "any" || request.tool_choice?.type === "tool") {
    throw invalidRequest("Thinking may not be enabled when tool_choice forces tool use.");
  }
};

function refusal(type: ThinkingType, model: SimulatedModel): string {
  const accepts = (other: ThinkingType) => model.thinkingTypes.includes(other);
  if (type === "adaptive") return "adaptive thinking is not supported on this model";
  if (type === "disabled" && accepts("between_tools")) {
    return 'To turn thinking off on this model, send "thinking": {"type": "between_tools"} instead of {"type": "disabled"}. The model does not think before responding. The short updates it writes between tool calls come back as thinking blocks.';
  }
  const advice = accepts("enabled")
    ? 'Thinking defaults to adaptive mode when not specified; use "thinking.type.enabled" with "budget_tokens" for extended thinking.'
    : 'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.';
  return `"thinking.type.${type}" is not supported for this model. ${advice}`;
}

/** The effort level must be one the model has. */
export const effortRule: Rule = ({ request, model }) => {
  const effort = request.output_config?.effort;
  if (!effort || model.effort.includes(effort)) return;
  if (model.effort.length === 0) throw invalidRequest("This model does not support the effort parameter.");
  const supported = EFFORT_LEVELS.filter((level) => model.effort.includes(level)).map((level) => `'${level}'`);
  throw invalidRequest(
    `This model does not support effort level '${effort}'. Supported levels: ${alternatives(supported)}`,
    "output_config.effort",
  );
};
