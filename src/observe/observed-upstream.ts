import type { Upstream, UpstreamOptions } from "../upstream/upstream.ts";
import { ObservedAnswer } from "./observed-answer.ts";
import { ObservedRequest, type ObservedRequestOptions } from "./observed-request.ts";

/**
 * Observes requests to Claude: a client's span for each attempt, and metrics. The SDK has such a span too, but it would end
 * with the header of the response, since it is not the SDK that reads our streams.
 */
export function observeUpstream(upstream: Upstream, options: ObservedRequestOptions): Upstream {
  async function observe<T>(
    operation: string,
    model: string | undefined,
    callOptions: UpstreamOptions,
    request: (options: UpstreamOptions) => Promise<T>,
  ): Promise<T> {
    const observed = new ObservedRequest({ operation, model }, callOptions, options);
    try {
      const result = await request(observed.callOptions);
      if (model !== undefined) options.labels.models.admit(model);
      observed.end(undefined);
      return result;
    } catch (error) {
      observed.end(error);
      throw error;
    }
  }

  return {
    async streamMessage(params, callOptions) {
      const observed = new ObservedAnswer(params, callOptions, options);
      try {
        const stream = await upstream.streamMessage(params, observed.callOptions);
        observed.follow(stream);
        return stream;
      } catch (error) {
        observed.end(error);
        throw error;
      }
    },
    countTokens: (params, callOptions) =>
      observe("count_tokens", params.model, callOptions, (traced) => upstream.countTokens(params, traced)),
    listModels: (params, callOptions) =>
      observe("list_models", undefined, callOptions, (traced) => upstream.listModels(params, traced)),
    getModel: (id, callOptions) => observe("get_model", id, callOptions, (traced) => upstream.getModel(id, traced)),
    [Symbol.asyncDispose]: () => upstream[Symbol.asyncDispose](),
  };
}
