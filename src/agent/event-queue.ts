/** Events of several sources in one order: each `next` takes all that came since the one before. */
export class EventQueue<T> implements AsyncIterableIterator<readonly T[], undefined> {
  #events: T[] = [];
  #end: { readonly error?: unknown } | undefined;
  #wake: (() => void) | undefined;

  push(event: T): void {
    if (this.#end !== undefined) return;
    this.#events.push(event);
    this.#wake?.();
  }

  /** Ends the queue, after what is in it, when the work is done. It fails as the work does. */
  endAfter(work: Promise<unknown>): void {
    const end = (how: { readonly error?: unknown }) => {
      this.#end = how;
      this.#wake?.();
    };
    work.then(
      () => end({}),
      (error: unknown) => end({ error }),
    );
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<readonly T[], undefined>> {
    if (this.#events.length === 0 && this.#end === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    if (this.#events.length > 0) {
      const value = this.#events;
      this.#events = [];
      return { done: false, value };
    }
    if (this.#end !== undefined && "error" in this.#end) throw this.#end.error;
    return { done: true, value: undefined };
  }
}
