import type { CallObserver } from "../listen/dispatcher.ts";
import type { CallRecord } from "../rpc/call.ts";

/** Calls in progress, the oldest first. */
export class ActiveCalls {
  readonly #records = new Set<CallRecord>();

  get size(): number {
    return this.#records.size;
  }

  /** The same observer, whose calls are in progress from their start to their end. */
  observe(observer: CallObserver): CallObserver {
    return {
      started: (record, headers) => {
        this.#records.add(record);
        observer.started(record, headers);
      },
      ended: (record) => {
        this.#records.delete(record);
        observer.ended(record);
      },
    };
  }

  /** The oldest of them. */
  list(limit: number): readonly CallRecord[] {
    return this.#records.values().take(limit).toArray();
  }
}
