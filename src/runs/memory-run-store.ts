import { toBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { RunAgentRequestSchema, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { ParleyError } from "../errors/parley-error.ts";
import { hasEnded, type RunRecord } from "./run-record.ts";
import type { RunQuery, RunStore, StoredEvent } from "./run-store.ts";

export interface MemoryRunStoreOptions {
  /**
   * The most bytes of requests and events. When there are more, runs that have ended are forgotten, the oldest first, and
   * if that is not enough, the oldest events of the largest run.
   */
  readonly maxBytes: number;
}

/** How many events of a run are kept as messages, too: whoever follows it needs not decode them. */
const FRESH_EVENTS = 64;

/** About what a run and an event take in memory beside their bytes (measured in Node 26), in bytes. */
const RUN_OVERHEAD = 8 * 1024;
const EVENT_OVERHEAD = 256;

function sizeOf({ bytes }: StoredEvent): number {
  return bytes.length + EVENT_OVERHEAD;
}

interface Entry {
  readonly record: RunRecord;
  events: StoredEvent[];
  bytes: number;
  readonly waiting: Set<() => void>;
}

/** Keeps runs in the memory of this process. */
export class MemoryRunStore implements RunStore {
  readonly #maxBytes: number;
  /** In the order in which they were created. */
  readonly #entries = new Map<string, Entry>();
  /** Identifiers of runs that have ended, in the order in which they did. */
  readonly #ended = new Set<string>();
  readonly #byRequest = new Map<string, string>();
  readonly #sweeper: NodeJS.Timeout;
  #bytes = 0;

  constructor({ maxBytes }: MemoryRunStoreOptions) {
    this.#maxBytes = maxBytes;
    this.#sweeper = setInterval(() => this.#forgetExpired(), 1_000).unref();
  }

  async create(record: RunRecord): Promise<RunRecord> {
    const { id } = record.run;
    const existing = this.#earlier(record);
    if (existing !== undefined) return existing;
    if (record.requestId !== "") this.#byRequest.set(requestKey(record), id);
    const length = toBinary(RunAgentRequestSchema, record.request).length + RUN_OVERHEAD;
    this.#entries.set(id, { record, events: [], bytes: length, waiting: new Set() });
    this.#bytes += length;
    this.#makeRoom(id);
    return record;
  }

  async find(id: string): Promise<RunRecord | undefined> {
    return this.#entries.get(id)?.record;
  }

  async findRequest(owner: string, requestId: string): Promise<RunRecord | undefined> {
    return this.#earlier({ owner, requestId });
  }

  async list({ owner, before, limit, conversationId, states }: RunQuery): Promise<readonly RunRecord[]> {
    const found: RunRecord[] = [];
    const following = [...this.#entries.keys()].filter((id) => before === undefined || id < before);
    for (const id of following.sort().reverse()) {
      const { record } = this.#entries.get(id) as Entry;
      const { run } = record;
      if (record.owner !== owner) continue;
      if (conversationId !== undefined && run.conversationId !== conversationId) continue;
      if (states !== undefined && !states.has(run.state)) continue;
      found.push(record);
      if (found.length === limit) break;
    }
    return found;
  }

  append(record: RunRecord, events: readonly StoredEvent[]): void {
    const { id } = record.run;
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    for (const event of events) {
      entry.events.push(event);
      const size = sizeOf(event);
      entry.bytes += size;
      this.#bytes += size;
      const stale = entry.events[entry.events.length - 1 - FRESH_EVENTS];
      if (stale?.event !== undefined) {
        entry.events[entry.events.length - 1 - FRESH_EVENTS] = { sequence: stale.sequence, bytes: stale.bytes };
      }
    }
    this.#ended.delete(id);
    if (hasEnded(record.run)) {
      this.#ended.add(id);
      entry.events = entry.events.map(({ sequence, bytes }) => ({ sequence, bytes }));
    }
    wakeAll(entry);
    this.#makeRoom(id);
  }

  async read(id: string, after: number, limit: number): Promise<readonly StoredEvent[]> {
    const entry = this.#entries.get(id);
    const first = entry?.events[0]?.sequence ?? 1;
    if (entry === undefined || after < first - 1) {
      const from = entry === undefined ? "" : `: ask for those after ${first - 1}`;
      throw new ParleyError("RUN_EVENTS_EXPIRED", `the events after ${after} are no longer kept${from}`, {
        resource: { type: "parley.v1.AgentEvent", name: id },
      });
    }
    const start = after - first + 1;
    return entry.events.slice(start, start + limit);
  }

  changed(id: string, after: number, signal: AbortSignal): Promise<void> {
    const entry = this.#entries.get(id);
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      if (entry === undefined || (entry.events.at(-1)?.sequence ?? 0) > after) {
        resolve();
        return;
      }
      const wake = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        entry.waiting.delete(wake);
        reject(signal.reason);
      };
      entry.waiting.add(wake);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweeper);
  }

  #earlier(request: RequestName): RunRecord | undefined {
    const record = this.#entries.get(this.#byRequest.get(requestKey(request)) ?? "")?.record;
    return record === undefined || isLost(record) ? undefined : record;
  }

  #forgetExpired(): void {
    const now = Date.now();
    for (const id of this.#ended) {
      const { expireTime } = this.#entries.get(id)?.record.run ?? {};
      if (expireTime !== undefined && timestampMs(expireTime) <= now) this.#forget(id);
    }
  }

  /** @param latest the run that has just moved on: those who follow it have not read yet how. */
  #makeRoom(latest: string): void {
    for (const id of this.#ended) {
      if (this.#bytes <= this.#maxBytes) return;
      if (id !== latest) this.#forget(id);
    }
    while (this.#bytes > this.#maxBytes) {
      const largest = this.#largest();
      if (largest === undefined) return;
      const dropped = largest.events.splice(0, Math.ceil((largest.events.length - FRESH_EVENTS) / 2));
      const bytes = dropped.reduce((sum, event) => sum + sizeOf(event), 0);
      largest.bytes -= bytes;
      this.#bytes -= bytes;
    }
  }

  /** The run that can give away most. The latest events stay, also of a run that is larger than all memory. */
  #largest(): Entry | undefined {
    let largest: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.events.length > FRESH_EVENTS && entry.bytes > (largest?.bytes ?? 0)) largest = entry;
    }
    return largest;
  }

  #forget(id: string): void {
    this.#ended.delete(id);
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    this.#bytes -= entry.bytes;
    const key = requestKey(entry.record);
    if (this.#byRequest.get(key) === id) this.#byRequest.delete(key);
    wakeAll(entry);
  }
}

function wakeAll({ waiting }: Entry): void {
  const woken = [...waiting];
  waiting.clear();
  for (const wake of woken) wake();
}

type RequestName = Pick<RunRecord, "owner" | "requestId">;

function requestKey({ owner, requestId }: RequestName): string {
  return JSON.stringify([owner, requestId]);
}

/** Whether a run has no answer to give any more, so that to ask again is no repetition. */
function isLost({ run }: RunRecord): boolean {
  return run.state === RunState.CANCELLED || run.state === RunState.FAILED;
}
