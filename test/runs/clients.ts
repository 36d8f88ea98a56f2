import { type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import {
  type AgentEvent,
  AgentEventSchema,
  AgentService,
  type ToolAnswerSchema,
} from "../../gen/parley/v1/agent_service_pb.js";
import type { ToolResultBlockSchema } from "../../gen/parley/v1/content_pb.js";
import type { Service } from "../support/service.ts";

/** A caller with a connection of its own. */
export interface Caller {
  readonly agents: Client<typeof AgentService>;
  /** Loses the connection, without a word to the service. */
  loseConnection(): void;
}

export function newCaller({ url }: Service): Caller {
  const sessionManager = new Http2SessionManager(url);
  return {
    agents: createClient(AgentService, createGrpcTransport({ baseUrl: url, sessionManager })),
    loseConnection: () => sessionManager.abort(),
  };
}

/** A client over a connection of its own. */
export function newClient(service: Service): Client<typeof AgentService> {
  return newCaller(service).agents;
}

type Answer = MessageInitShape<typeof ToolAnswerSchema>;

/** What the caller's own tool has returned. */
export function result(toolUseId: string, text: string, more: MessageInitShape<typeof ToolResultBlockSchema> = {}) {
  return { toolUseId, answer: { case: "result", value: { toolUseId, text, ...more } } } as const satisfies Answer;
}

export function approve(toolUseId: string) {
  return { toolUseId, answer: { case: "approval", value: { approved: true } } } as const satisfies Answer;
}

export function refuse(toolUseId: string, reason = "") {
  return { toolUseId, answer: { case: "approval", value: { approved: false, reason } } } as const satisfies Answer;
}

/** Events as what they are on the wire, to compare them byte by byte. */
export function bytesOf(events: readonly AgentEvent[]): readonly string[] {
  return events.map((event) => Buffer.from(toBinary(AgentEventSchema, event)).toString("hex"));
}
