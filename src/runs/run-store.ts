import type { AgentEvent, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { RunRecord } from "./run-record.ts";

/** An event of a run as a store keeps it. */
export interface StoredEvent {
  readonly sequence: number;
  /** The AgentEvent in binary form. */
  readonly bytes: Uint8Array;
  /** The same as a message, while it is fresh. */
  readonly event?: AgentEvent | undefined;
}

export interface RunQuery {
  readonly owner: string;
  /** Identifier of a run: only those are listed that come after it in the list. */
  readonly before?: string | undefined;
  readonly limit: number;
  readonly conversationId?: string | undefined;
  /** Unset: in all states. */
  readonly states?: ReadonlySet<RunState> | undefined;
}

/**
 * Keeps runs and their events. What a store has accepted can be read by whoever asks it, until it expires.
 *
 * A run is written by one process at a time. What an implementation cannot do for the moment it tells by rejecting with a
 * ParleyError that is UNAVAILABLE.
 */
export interface RunStore extends AsyncDisposable {
  /**
   * Takes a new run, unless its owner has one with the same request identifier that is neither cancelled nor failed.
   *
   * @returns the run that is there then: the given one or the earlier one.
   */
  create(record: RunRecord): Promise<RunRecord>;
  /** Undefined: there is none, or it has expired. */
  find(id: string): Promise<RunRecord | undefined>;
  /** The run that `create` would return in the place of a new one. Undefined: there is none. */
  findRequest(owner: string, requestId: string): Promise<RunRecord | undefined>;
  /** The newest first, which is by descending identifiers. */
  list(query: RunQuery): Promise<readonly RunRecord[]>;
  /** Adds events, and replaces what is told of the run: both or neither. The events follow those before them. */
  append(record: RunRecord, events: readonly StoredEvent[]): Promise<void> | void;
  /**
   * Events after a sequence number, some if not all of them. None: there are none yet.
   *
   * @throws {ParleyError} RUN_EVENTS_EXPIRED when they are no longer kept.
   */
  read(id: string, after: number, limit: number): Promise<readonly StoredEvent[]>;
  /** Resolves when there are events after a sequence number, or the run is gone. Throws the signal's reason. */
  changed(id: string, after: number, signal: AbortSignal): Promise<void>;
}
