import { create } from "@bufbuild/protobuf";
import {
  ChatService,
  HeartbeatSchema,
  type StreamChatResponse,
  StreamChatResponseSchema,
} from "../../gen/parley/v1/chat_service_pb.js";
import type { PriceTable } from "../agent/prices.ts";
import { turn } from "../agent/turn.ts";
import type { Answer } from "../upstream/answer.ts";
import { type Method, streaming } from "./call.ts";
import { ChatTurn } from "./chat-turn.ts";
import { writeDelta } from "./convert/delta-bytes.ts";
import { eventFromClaude } from "./convert/events.ts";
import { toTurnRequest } from "./convert/request.ts";
import { usageOf } from "./convert/response.ts";
import { type AnswerFormat, answerFormat, checkFormat, formattedResponse } from "./convert/structured-output.ts";
import type { RpcDependencies } from "./dependencies.ts";
import { createHeartbeat } from "./heartbeat.ts";

/** StreamChat: Claude's events as they come, and the whole message with the last of them. */
export function streamChat({ defaults, heartbeatMs, prices, ...dependencies }: RpcDependencies): Method {
  return streaming({
    desc: ChatService.method.streamChat,
    write: writeDelta,
    async handle({ chat: input, omitFinalMessage }, { record, signal, deadline }, out) {
      if (input === undefined) throw new TypeError("chat is required: the validation has let it pass");
      record.labels = input.labels;
      record.chatPath = "chat.";
      const turnRequest = toTurnRequest(input, "chat.", defaults);
      const format = answerFormat(input.outputConfig, defaults.messageTypes);
      // What is to be checked must be kept.
      const request = { ...turnRequest, omitContent: omitFinalMessage && format === undefined };
      const ending = { omitFinalMessage, format, prices };
      const progress = new ChatTurn(prices);
      record.turn = progress;
      let sequence = 0;
      const send = (response: StreamChatResponse) => {
        sequence++;
        response.sequence = sequence;
        record.lastSequence = sequence;
        out.send(response);
      };
      using heartbeat = createHeartbeat(heartbeatMs, () => {
        // A reader that has stopped needs no sign of life.
        if (out.isWanted) send(heartbeatEvent());
      });
      for await (const batch of await turn(request, progress, dependencies, { signal, deadline, origin: record })) {
        record.firstOutputAt ??= performance.now();
        heartbeat.alive();
        for (const event of batch) {
          const response = eventFromClaude(event, progress.answer.requestId);
          complete(response, progress.answer, ending);
          send(response);
        }
        const wanted = out.wanted();
        if (wanted !== undefined) await wanted;
      }
    },
  });
}

/** What the end of a stream has to tell. */
interface Ending {
  readonly omitFinalMessage: boolean;
  readonly format: AnswerFormat | undefined;
  readonly prices: PriceTable;
}

/**
 * Adds what an event does not tell by itself, but the answer so far does.
 *
 * @throws {ParleyError} STRUCTURED_OUTPUT_INVALID in the place of the end of an answer that does not have its format.
 */
function complete({ event }: StreamChatResponse, answer: Answer, { omitFinalMessage, format, prices }: Ending): void {
  // Claude's `message_delta` leaves out numbers that have not changed.
  if (event.case === "messageDelta") event.value.usage = usageOf(answer, prices);
  if (event.case !== "messageStop") return;
  if (omitFinalMessage) checkFormat(answer, format);
  else event.value.finalMessage = formattedResponse(answer, format, prices);
}

function heartbeatEvent(): StreamChatResponse {
  return create(StreamChatResponseSchema, { event: { case: "heartbeat", value: create(HeartbeatSchema) } });
}
