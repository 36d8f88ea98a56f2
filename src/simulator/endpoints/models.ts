import type { ModelInfo } from "@anthropic-ai/sdk/resources/models.js";
import { jsonAnswer } from "../answer/answer.ts";
import { findModel, type SimulatedModel } from "../catalogue/model.ts";
import { alternatives } from "../request/schema/wording.ts";
import { ApiError, invalidRequest } from "../server/api-error.ts";
import type { Endpoint } from "./endpoint.ts";

const LIFECYCLES: readonly ModelInfo["lifecycle"][] = ["active", "deprecated", "retired"];
const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 1000;

/** `GET /v1/models` */
export function createListModelsEndpoint(models: readonly SimulatedModel[]): Endpoint {
  return {
    method: "GET",
    path: /^\/v1\/models$/,
    needsCredential: true,
    prepare({ query }) {
      const lifecycles = readLifecycles(query);
      const all = models.map((model) => model.info).filter((info) => lifecycles.includes(info.lifecycle));
      const page = readPage(query, all);
      const body = { ...page, first_id: page.data[0]?.id ?? null, last_id: page.data.at(-1)?.id ?? null };
      return { answer: () => jsonAnswer(200, body) };
    },
  };
}

/** `GET /v1/models/{id}` */
export function createRetrieveModelEndpoint(models: readonly SimulatedModel[]): Endpoint {
  return {
    method: "GET",
    path: /^\/v1\/models\/[^/]+$/,
    needsCredential: true,
    prepare({ path }) {
      const name = path.slice(path.lastIndexOf("/") + 1);
      const model = findModel(models, name);
      if (!model) throw new ApiError(404, "not_found_error", `model: ${name}`);
      return { answer: () => jsonAnswer(200, model.info) };
    },
  };
}

function readLifecycles(query: URLSearchParams): readonly string[] {
  const asked = [...query.getAll("lifecycle[]"), ...query.getAll("lifecycle")];
  if (asked.length > LIFECYCLES.length) throw invalidRequest("List should have at most 3 items", "lifecycle");
  for (const [index, value] of asked.entries()) {
    if (LIFECYCLES.some((known) => known === value)) continue;
    const known = alternatives(LIFECYCLES.map((lifecycle) => `'${lifecycle}'`));
    throw invalidRequest(`Input should be ${known}`, `lifecycle.${index}`);
  }
  return asked.length > 0 ? asked : ["active", "deprecated"];
}

function readPage(query: URLSearchParams, all: readonly ModelInfo[]): { data: ModelInfo[]; has_more: boolean } {
  const limit = Number(query.get("limit") ?? DEFAULT_LIMIT);
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw invalidRequest(`Input should be an integer from 1 to ${MAX_LIMIT}`, "limit");
  }
  const after = query.get("after_id");
  const before = query.get("before_id");
  if (after !== null && before !== null) throw invalidRequest("cannot be combined with before_id", "after_id");
  if (before !== null) {
    const end = positionOf(before, all, "before_id");
    const start = Math.max(0, end - limit);
    return { data: all.slice(start, end), has_more: start > 0 };
  }
  const start = after === null ? 0 : positionOf(after, all, "after_id") + 1;
  return { data: all.slice(start, start + limit), has_more: start + limit < all.length };
}

function positionOf(id: string, all: readonly ModelInfo[], parameter: string): number {
  const position = all.findIndex((info) => info.id === id);
  if (position < 0) throw invalidRequest(`'${id}' is not in the list`, parameter);
  return position;
}
