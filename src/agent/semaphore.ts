/** Lets so many in at a time, in the order of their coming. */
export class Semaphore {
  #free: number;
  readonly #waiting = new Set<() => void>();

  /** @param slots how many are let in at a time. */
  constructor(slots: number) {
    this.#free = slots;
  }

  /**
   * Waits for a slot. Disposing of what it resolves with gives it back.
   *
   * @throws the signal's reason when it is aborted before.
   */
  async acquire(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#wait(signal);
    return { [Symbol.dispose]: () => this.#release() };
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const enter = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.delete(enter);
        reject(signal.reason);
      };
      signal.addEventListener("abort", leave, { once: true });
      this.#waiting.add(enter);
    });
  }

  #release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    // The slot goes on to whoever has waited longest.
    this.#waiting.delete(next);
    next();
  }
}
