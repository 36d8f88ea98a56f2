import { ParleyError } from "../errors/parley-error.ts";
import { Output } from "../rpc/output.ts";

/** An output that is read in batches: each `next` takes all that was sent since the one before. */
export class PulledOutput<T> extends Output<T> implements AsyncIterableIterator<readonly T[], undefined> {
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;
  #queue: T[] = [];
  #state:
    | { readonly kind: "open" }
    | { readonly kind: "ended" }
    | { readonly kind: "failed"; readonly error: unknown } = {
    kind: "open",
  };
  #wakeReader: (() => void) | undefined;
  #wakeWriters: (() => void)[] = [];

  /**
   * @param signal ends the output when it is aborted.
   * @param abortError makes the error that waiting readers and writers then get.
   */
  constructor(signal: AbortSignal, abortError: () => unknown) {
    super();
    this.#signal = signal;
    this.#onAbort = () => this.fail(abortError());
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  get isWanted(): boolean {
    return this.#wakeReader !== undefined && this.#queue.length === 0;
  }

  send(message: T): void {
    if (this.#state.kind !== "open") return;
    this.sent++;
    this.#queue.push(message);
    this.#wakeReader?.();
  }

  async wanted(): Promise<void> {
    while (this.#state.kind === "open" && !this.isWanted) {
      await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
    }
    if (this.#state.kind === "failed") throw this.#state.error;
  }

  end(): void {
    this.#close({ kind: "ended" });
  }

  fail(error: unknown): void {
    this.#close({ kind: "failed", error });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<readonly T[], undefined>> {
    if (this.#queue.length === 0 && this.#state.kind === "open") {
      const sent = new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
      this.#wakeAllWriters();
      await sent;
      this.#wakeReader = undefined;
    }
    if (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      return { done: false, value: batch };
    }
    if (this.#state.kind === "failed") throw this.#state.error;
    return { done: true, value: undefined };
  }

  /** The reader reads no further. */
  async return(): Promise<IteratorResult<readonly T[], undefined>> {
    this.fail(new ParleyError("CANCELLED", "the caller reads no further"));
    this.#queue = [];
    return { done: true, value: undefined };
  }

  #close(state: { readonly kind: "ended" } | { readonly kind: "failed"; readonly error: unknown }): void {
    if (this.#state.kind !== "open") return;
    this.#state = state;
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#wakeReader?.();
    this.#wakeAllWriters();
  }

  #wakeAllWriters(): void {
    const waiting = this.#wakeWriters;
    this.#wakeWriters = [];
    for (const wake of waiting) wake();
  }
}
