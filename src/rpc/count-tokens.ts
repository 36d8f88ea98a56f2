import { create } from "@bufbuild/protobuf";
import { ChatService, CountTokensResponseSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { withRetries } from "../agent/retry.ts";
import { type Method, unary } from "./call.ts";
import { toolFinder } from "./convert/registered-tools.ts";
import { toCountTokensParams } from "./convert/request.ts";
import type { RpcDependencies } from "./dependencies.ts";

/** CountTokens. */
export function countTokens({ upstream, retrier, defaults, tools }: RpcDependencies): Method {
  return unary({
    desc: ChatService.method.countTokens,
    async handle({ chat: input }, { record, signal, deadline }) {
      if (input === undefined) throw new TypeError("chat is required: the validation has let it pass");
      record.labels = input.labels;
      record.chatPath = "chat.";
      const params = toCountTokensParams(input, "chat.", defaults, toolFinder(tools));
      const options = { signal, deadline, betas: input.betas, origin: record };
      const inputTokens = await withRetries(
        (after) => upstream.countTokens(params, { ...options, after }),
        retrier,
        options,
      );
      return create(CountTokensResponseSchema, { inputTokens });
    },
  });
}
