import { create } from "@bufbuild/protobuf";
import {
  GetModelResponseSchema,
  ListModelsResponseSchema,
  ModelService,
} from "../../gen/parley/v1/model_service_pb.js";
import { withRetries } from "../agent/retry.ts";
import { type Method, unary } from "./call.ts";
import { lifecycleToClaude, modelFromClaude } from "./convert/models.ts";
import type { RpcDependencies } from "./dependencies.ts";

const DEFAULT_PAGE_SIZE = 20;

/** ListModels. A page token is the identifier of the last model of the page before. */
export function listModels({ upstream, retrier }: RpcDependencies): Method {
  return unary({
    desc: ModelService.method.listModels,
    async handle({ pageSize, pageToken, lifecycles }, { record, signal, deadline }) {
      const params = {
        limit: pageSize || DEFAULT_PAGE_SIZE,
        ...(pageToken !== "" && { after_id: pageToken }),
        ...(lifecycles.length > 0 && { lifecycle: lifecycles.map(lifecycleToClaude) }),
      };
      const options = { signal, deadline, origin: record };
      const page = await withRetries((after) => upstream.listModels(params, { ...options, after }), retrier, options);
      return create(ListModelsResponseSchema, {
        models: page.models.map(modelFromClaude),
        nextPageToken: page.nextAfterId ?? "",
      });
    },
  });
}

/** GetModel. */
export function getModel({ upstream, retrier }: RpcDependencies): Method {
  return unary({
    desc: ModelService.method.getModel,
    async handle({ id }, { record, signal, deadline }) {
      const options = { signal, deadline, origin: record };
      const json = await withRetries((after) => upstream.getModel(id, { ...options, after }), retrier, options);
      return create(GetModelResponseSchema, { model: modelFromClaude(json) });
    },
  });
}
