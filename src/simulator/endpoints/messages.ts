import type { Container } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { type Answer, jsonAnswer, streamAnswer } from "../answer/answer.ts";
import type { Draft } from "../answer/draft.ts";
import { countOutput, createMessage, messageParts } from "../answer/message.ts";
import { findModel, type SimulatedModel } from "../catalogue/model.ts";
import { converse } from "../converse/converse.ts";
import type { MessagesRequest } from "../request/request.ts";
import { type Validated, validateMessages } from "../request/validate.ts";
import { scriptedDraft, scriptedEventsAnswer } from "../script/answer.ts";
import type { ScriptedResponse } from "../script/format.ts";
import { invalidRequest } from "../server/api-error.ts";
import { requireJsonObject } from "../server/body.ts";
import { newId } from "../server/ids.ts";
import type { RateLimits } from "../server/rate-limits.ts";
import type { DiagnosticsLog } from "../usage/diagnostics.ts";
import type { PromptCache } from "../usage/prompt-cache.ts";
import { createUsage } from "../usage/usage.ts";
import type { Call, Endpoint } from "./endpoint.ts";

export interface MessagesServices {
  readonly models: readonly SimulatedModel[];
  readonly cache: PromptCache;
  readonly diagnostics: DiagnosticsLog;
  readonly limits: RateLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** How long a container is kept. */
const CONTAINER_MS = 30 * 60_000;

/** `POST /v1/messages` */
export function createMessagesEndpoint(services: MessagesServices): Endpoint {
  return {
    method: "POST",
    path: /^\/v1\/messages$/,
    needsCredential: true,
    prepare(call, validate) {
      const { request, model } = readRequest(call, services.models, validate);
      const prompt = services.cache.look(request, model);
      const { input, cacheRead, cacheWrite1h, cacheWrite5m } = prompt.usage;
      const uncached = input + cacheWrite1h + cacheWrite5m;
      const promptTokens = uncached + cacheRead;
      if (promptTokens > model.contextWindow) {
        throw invalidRequest(`prompt is too long: ${promptTokens} tokens > ${model.contextWindow} maximum`);
      }
      services.limits.admit(uncached);

      function send(draft: Draft, scripted: ScriptedResponse = {}): Answer {
        prompt.commit();
        const output = countOutput(draft.outputs);
        const tokens = output.tokens === 0 && request.max_tokens !== 0 ? 1 : output.tokens;
        const usage = createUsage(
          prompt.usage,
          { tokens, thinkingTokens: output.thinkingTokens, serverTools: draft.serverTools },
          { speed: request.speed, inferenceGeo: request.inference_geo },
        );
        services.limits.charge(tokens);
        const written = createMessage(draft, {
          id: scripted.id ?? newId("msg"),
          model: scripted.model ?? model.info.id,
          usage: { ...usage, ...scripted.usage },
          container: validate ? loadContainer(request, services.now()) : null,
          diagnostics: validate ? services.diagnostics.compare(request) : null,
        });
        if (validate) services.diagnostics.remember(written.message.id, request);
        const headers = scripted.headers ?? {};
        if (request.stream === true) return streamAnswer(messageParts(written), headers);
        return jsonAnswer(200, written.message, { headers, tokensBeforeHeaders: tokens });
      }

      return {
        answer: () => send(converse(request, model, promptTokens)),
        play: (response) =>
          response.events ? scriptedEventsAnswer(response) : send(scriptedDraft(response), response),
      };
    },
  };
}

function readRequest(call: Call, models: readonly SimulatedModel[], validate: boolean): Validated<MessagesRequest> {
  if (call.bodyProblem) throw call.bodyProblem;
  const body = requireJsonObject(call.bodyText, call.headers["content-type"]);
  if (validate) return validateMessages(body, models);
  const [first] = models;
  const model = findModel(models, String(body.model)) ?? first;
  if (!model) throw new Error("The catalogue is empty.");
  return { request: body as unknown as MessagesRequest, model };
}

/** The container that a request names, or a new one for the skills it wants. */
function loadContainer({ container }: MessagesRequest, now: number): Container | null {
  if (!container) return null;
  const { id, skills } = typeof container === "string" ? { id: container } : container;
  return {
    id: id ?? newId("container"),
    expires_at: new Date(now + CONTAINER_MS).toISOString(),
    skills: skills?.map(({ skill_id, type, version }) => ({ skill_id, type, version: version ?? "latest" })) ?? null,
  };
}
