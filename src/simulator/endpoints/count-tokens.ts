import { jsonAnswer } from "../answer/answer.ts";
import type { SimulatedModel } from "../catalogue/model.ts";
import { validateCountTokens } from "../request/validate.ts";
import { requireJsonObject } from "../server/body.ts";
import { countPromptTokens } from "../usage/prompt-tokens.ts";
import type { Endpoint } from "./endpoint.ts";

/** `POST /v1/messages/count_tokens` */
export function createCountTokensEndpoint(models: readonly SimulatedModel[]): Endpoint {
  return {
    method: "POST",
    path: /^\/v1\/messages\/count_tokens$/,
    needsCredential: true,
    prepare(call, validate) {
      if (call.bodyProblem) throw call.bodyProblem;
      const body = requireJsonObject(call.bodyText, call.headers["content-type"]);
      if (!validate) return { answer: () => jsonAnswer(200, { input_tokens: 0 }) };
      const { request } = validateCountTokens(body, models);
      return { answer: () => jsonAnswer(200, { input_tokens: countPromptTokens(request) }) };
    },
  };
}
