import type { z } from "zod";
import { findModel, type SimulatedModel } from "../catalogue/model.ts";
import { ApiError, invalidRequest } from "../server/api-error.ts";
import { type MessagesRequest, type PromptRequest, readTurns } from "./request.ts";
import { cachingRule } from "./rules/caching.ts";
import { citationsRule } from "./rules/citations.ts";
import { maxTokensRule, stopSequencesRule } from "./rules/limits.ts";
import {
  blockRolesRule,
  emptyContentRule,
  openingRule,
  prefillRule,
  systemMessagesRule,
  thinkingBlocksRule,
} from "./rules/messages.ts";
import type { Rule } from "./rules/rule.ts";
import { structuredOutputsRule } from "./rules/structured-outputs.ts";
import { effortRule, thinkingRule } from "./rules/thinking.ts";
import { serverToolPairsRule, toolPairsRule, toolReferencesRule } from "./rules/tool-pairs.ts";
import { toolChoiceRule, toolDefinitionsRule, toolNamesRule, toolsetsRule } from "./rules/tools.ts";
import { toolsetResultsRule } from "./rules/toolset-results.ts";
import { countTokensParams, messagesParams } from "./schema/params.ts";
import { problemsIn } from "./schema/wording.ts";

const RULES: readonly Rule[] = [
  openingRule,
  emptyContentRule,
  blockRolesRule,
  maxTokensRule,
  thinkingRule,
  effortRule,
  stopSequencesRule,
  toolNamesRule,
  toolDefinitionsRule,
  toolsetsRule,
  toolChoiceRule,
  structuredOutputsRule,
  cachingRule,
  citationsRule,
  systemMessagesRule,
  thinkingBlocksRule,
  toolPairsRule,
  serverToolPairsRule,
  toolReferencesRule,
  toolsetResultsRule,
  prefillRule,
];

/** A request that was found right, with the model it names. */
export interface Validated<Request> {
  readonly request: Request;
  readonly model: SimulatedModel;
}

/**
 * Checks the body of `POST /v1/messages`.
 * @throws {ApiError} in Claude's words, for the first problem found.
 */
export function validateMessages(body: unknown, models: readonly SimulatedModel[]): Validated<MessagesRequest> {
  return validate<MessagesRequest>(messagesParams, body, models);
}

/** Checks the body of `POST /v1/messages/count_tokens`. */
export function validateCountTokens(body: unknown, models: readonly SimulatedModel[]): Validated<PromptRequest> {
  return validate<PromptRequest>(countTokensParams, body, models);
}

function validate<Request extends PromptRequest>(
  schema: z.ZodType,
  body: unknown,
  models: readonly SimulatedModel[],
): Validated<Request> {
  const [problem] = problemsIn(schema, body);
  if (problem) throw invalidRequest(problem.message, problem.path.map(String).join("."));
  const request = body as Request;
  const model = findModel(models, request.model);
  if (!model || model.info.lifecycle === "retired") {
    throw new ApiError(404, "not_found_error", `model: ${request.model}`);
  }
  const turns = readTurns(request.messages);
  for (const rule of RULES) rule({ request, model, turns });
  return { request, model };
}
