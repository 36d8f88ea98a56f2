import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { turn } from "../agent/turn.ts";
import { type Method, unary } from "./call.ts";
import { ChatTurn } from "./chat-turn.ts";
import { toTurnRequest } from "./convert/request.ts";
import { answerFormat, formattedResponse } from "./convert/structured-output.ts";
import type { RpcDependencies } from "./dependencies.ts";

/** Chat: the same turn as StreamChat's, collected. */
export function chat({ defaults, prices, ...dependencies }: RpcDependencies): Method {
  return unary({
    desc: ChatService.method.chat,
    async handle(input, { record, signal, deadline }) {
      record.labels = input.labels;
      record.chatPath = "";
      const request = toTurnRequest(input, "", defaults);
      const format = answerFormat(input.outputConfig, defaults.messageTypes);
      const progress = new ChatTurn(prices);
      record.turn = progress;
      for await (const _ of await turn(request, progress, dependencies, { signal, deadline, origin: record })) {
        record.firstOutputAt ??= performance.now();
      }
      return formattedResponse(progress.answer, format, prices);
    },
  });
}
