import { create, fromBinary, type Message } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { type AgentEvent, AgentEventSchema, type Run, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { HeartbeatSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { hasEnded, type RunRecord } from "../runs/run-record.ts";
import type { StoredEvent } from "../runs/run-store.ts";
import type { Runs } from "../runs/runs.ts";
import type { Call, WriteMessage } from "./call.ts";
import { DeltaJoiner } from "./delta-joiner.ts";
import { createHeartbeat } from "./heartbeat.ts";
import type { Output } from "./output.ts";

/** What the RPCs answer that stream the events of a run: all have the event as their first field. */
export type EventResponse = Message & { event?: AgentEvent | undefined };

/** Where an event on its way to callers has its own bytes. A WeakMap would cost more than to encode the event again. */
const BYTES = Symbol("bytes");

type EncodedEvent = AgentEvent & { [BYTES]?: Uint8Array };

/** Tag of a field with number 1 that holds a message (https://protobuf.dev/programming-guides/encoding). */
const EVENT_TAG = 0x0a;

/** The longest varint of a 32-bit number, in bytes. */
const MAX_VARINT = 5;

/** Writes the event of a response as it is kept: it is encoded once, however many callers watch the run. */
export const writeEvent: WriteMessage = (message, target, start) => {
  const bytes = ((message as EventResponse).event as EncodedEvent | undefined)?.[BYTES];
  if (bytes === undefined || target.length - start < bytes.length + 1 + MAX_VARINT) return undefined;
  let position = target.writeUInt8(EVENT_TAG, start);
  let length = bytes.length;
  for (; length > 0x7f; length >>>= 7) position = target.writeUInt8((length & 0x7f) | 0x80, position);
  position = target.writeUInt8(length, position);
  target.set(bytes, position);
  return position + bytes.length;
};

export interface EventStreamOptions<T> {
  /** The last event that the caller has. */
  readonly after: number;
  /** Whether deltas among the events that are there already are joined. */
  readonly joinsReplay?: boolean;
  /** Whether the stream ends when the run waits for somebody to act. */
  readonly endsAtAction: boolean;
  readonly heartbeatMs: number;
  /** Makes the response that carries an event. */
  readonly respond: (event: AgentEvent) => T;
}

/**
 * Sends the events of a run until it has ended.
 *
 * @throws {ParleyError} RUN_EVENTS_EXPIRED; the reason that the call was aborted with.
 */
export async function sendEvents<T>(
  runs: Runs,
  record: RunRecord,
  { signal, record: callRecord }: Call,
  out: Output<T>,
  { after, joinsReplay = false, endsAtAction, heartbeatMs, respond }: EventStreamOptions<T>,
): Promise<void> {
  const { run } = record;
  let last = after;
  const send = (event: AgentEvent) => {
    last = event.sequence;
    callRecord.lastSequence = last;
    callRecord.firstOutputAt ??= performance.now();
    out.send(respond(event));
  };
  using heartbeat = createHeartbeat(heartbeatMs, () => {
    // A reader that has stopped needs no sign of life.
    if (out.isWanted) out.send(respond(heartbeatEvent(run.id, last)));
  });
  const joiner = joinsReplay ? new DeltaJoiner(run.lastSequence) : undefined;
  for await (const batch of runs.follow(record, after, signal)) {
    heartbeat.alive();
    for (const stored of batch) {
      const event = eventOf(stored);
      if (joiner === undefined) send(event);
      else for (const joined of joiner.take(event)) send(joined);
    }
    const wanted = out.wanted();
    if (wanted !== undefined) await wanted;
    if (isLast(batch.at(-1), run, endsAtAction)) return;
  }
}

function isLast(stored: StoredEvent | undefined, run: Run, endsAtAction: boolean): boolean {
  if (stored?.sequence !== run.lastSequence) return false;
  return hasEnded(run) || (endsAtAction && run.state === RunState.REQUIRES_ACTION);
}

function eventOf({ event, bytes }: StoredEvent): AgentEvent {
  const encoded: EncodedEvent = event ?? fromBinary(AgentEventSchema, bytes);
  encoded[BYTES] = bytes;
  return encoded;
}

function heartbeatEvent(runId: string, sequence: number): AgentEvent {
  return create(AgentEventSchema, {
    runId,
    sequence,
    eventTime: timestampNow(),
    ignorable: true,
    event: { case: "heartbeat", value: create(HeartbeatSchema) },
  });
}
