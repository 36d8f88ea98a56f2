import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Status } from "../../gen/google/rpc/status_pb.js";
import type { AgentEventSchema, PendingActionSchema } from "../../gen/parley/v1/agent_service_pb.js";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import type { LoopEvent, PendingAction } from "../agent/loop-event.ts";
import type { Answer } from "../upstream/answer.ts";

export type EventKind = NonNullable<MessageInitShape<typeof AgentEventSchema>["event"]>;

/** How what happens in a run is told to callers. */
export interface RunFormat {
  event(event: LoopEvent): EventKind;
  action(action: PendingAction): MessageInitShape<typeof PendingActionSchema>;
  usage(answer: Answer): Usage;
  /** What two parts of a run cost together. */
  sum(one: Usage | undefined, other: Usage): Usage;
  /** What a run has failed with. `runId` is told as the identifier of the request. */
  status(error: unknown, runId: string): Status;
}
