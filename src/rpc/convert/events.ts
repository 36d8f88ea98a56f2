import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  ContentBlockDeltaSchema,
  type StreamChatResponse,
  StreamChatResponseSchema,
} from "../../../gen/parley/v1/chat_service_pb.js";
import { type StreamEvent, textMember } from "../../upstream/stream-event.ts";
import { blockFromClaude, citationFromClaude } from "./blocks-from-claude.ts";
import { Reader } from "./reader.ts";
import { readContainer, readStop, usageFromClaude } from "./response.ts";

type Event = Exclude<NonNullable<MessageInitShape<typeof StreamChatResponseSchema>["event"]>, { case: undefined }>;
type Delta = NonNullable<Extract<Event, { case: "contentBlockDelta" }>["value"]["delta"]>;

/**
 * One of Claude's events, without a sequence number. A kind that the proto does not know comes out as opaque, and so
 * does one that has not the form that the proto knows.
 */
export function eventFromClaude(received: StreamEvent, requestId: string | undefined): StreamChatResponse {
  try {
    return typedEvent(received, requestId) ?? opaqueEvent(received);
  } catch {
    return opaqueEvent(received);
  }
}

function typedEvent({ event, json }: StreamEvent, requestId: string | undefined): StreamChatResponse | undefined {
  switch (event.type) {
    case "content_block_delta":
      return json === "" ? plainDelta(event) : otherDelta(event, json);
    case "content_block_start": {
      const reader = readerOf(json, "index");
      const contentBlock = blockFromClaude(reader.raw("content_block") ?? "{}");
      return response({ case: "contentBlockStart", value: { index: event.index, contentBlock } }, reader.extraJson());
    }
    case "content_block_stop":
      return response({ case: "contentBlockStop", value: { index: event.index } }, readerOf(json, "index").extraJson());
    case "message_start": {
      const reader = readerOf(json);
      const message = reader.nested("message");
      if (message === undefined) return undefined;
      const usage = usageFromClaude(Reader.of(message.raw("usage") ?? "{}"));
      const value = {
        id: message.string("id"),
        model: message.string("model"),
        usage,
        upstreamRequestId: requestId ?? "",
      };
      // An answer begins without content, and without a reason to have stopped.
      for (const name of ["type", "role", "content", "stop_reason", "stop_sequence", "stop_details"]) message.raw(name);
      for (const name of ["container", "diagnostics"]) if (isNull(event.message, name)) message.raw(name);
      return response({ case: "messageStart", value }, reader.extraJson());
    }
    case "message_delta": {
      const reader = readerOf(json);
      const delta = reader.nested("delta") ?? Reader.of("{}");
      const usage = usageFromClaude(Reader.of(reader.raw("usage") ?? "{}"));
      const value = { ...readStop(delta), container: delta.attempt("container", readContainer), usage };
      return response({ case: "messageDelta", value }, reader.extraJson());
    }
    case "message_stop":
      return response({ case: "messageStop", value: {} }, readerOf(json).extraJson());
    default:
      return undefined;
  }
}

/** Fields of the proto that take the texts of deltas, by the member that holds the text in Claude's. */
const textFields = {
  text: "text",
  partial_json: "partialJson",
  thinking: "thinking",
  signature: "signature",
} as const;

type DeltaEvent = Extract<StreamEvent["event"], { type: "content_block_delta" }>;

/** Nearly all events. Filled in field by field: `create` takes twice as long to look for what else there may be. */
function plainDelta({ index, delta }: DeltaEvent): StreamChatResponse {
  const member = textMember(delta.type) as keyof typeof textFields;
  const value = create(ContentBlockDeltaSchema);
  value.index = index;
  value.delta = { case: textFields[member], value: (delta as unknown as Record<string, string>)[member] ?? "" };
  const message = create(StreamChatResponseSchema);
  message.event = { case: "contentBlockDelta", value };
  return message;
}

function otherDelta({ index, delta }: DeltaEvent, json: string): StreamChatResponse {
  const member = textMember(delta.type) as keyof typeof textFields | undefined;
  const event = (converted: Delta): Event => ({ case: "contentBlockDelta", value: { index, delta: converted } });
  const reader = readerOf(json, "index");
  if (member === undefined && delta.type !== "citations_delta") {
    const opaque = { type: delta.type as string, json: reader.raw("delta") ?? "" };
    return response(event({ case: "opaque", value: opaque }), reader.extraJson());
  }
  const rest = reader.nested("delta") ?? Reader.of("{}");
  rest.raw("type");
  const converted: Delta =
    member === undefined
      ? { case: "citation", value: citationFromClaude(rest.raw("citation") ?? "") }
      : { case: textFields[member], value: rest.string(member) };
  return response(event(converted), reader.extraJson());
}

function isNull(message: object, name: string): boolean {
  return (message as Record<string, unknown>)[name] == null;
}

/** A reader of an event, of which `type` and some members are read already. */
function readerOf(json: string, ...read: readonly string[]): Reader {
  const reader = Reader.of(json);
  for (const name of ["type", ...read]) reader.raw(name);
  return reader;
}

function response(event: Event, extraJson: string): StreamChatResponse {
  return create(StreamChatResponseSchema, { event, extraJson });
}

function opaqueEvent({ event, json }: StreamEvent): StreamChatResponse {
  return response({ case: "opaque", value: { type: event.type, json } }, "");
}
