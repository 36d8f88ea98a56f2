import { timerAt } from "./timer-at.ts";

/** A signal that is aborted with another, or before it, at a certain time. Dispose of it when it is of no more use. */
export class LinkedAbort implements Disposable {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #onAbort = () => this.#controller.abort(this.#parent.reason);

  /** @param deadline when `onDeadline` is called, by `performance.now()`. Infinity: never. */
  constructor(parent: AbortSignal, deadline: number, onDeadline: () => void) {
    this.#parent = parent;
    if (parent.aborted) this.#onAbort();
    else parent.addEventListener("abort", this.#onAbort, { once: true });
    if (Number.isFinite(deadline)) this.#timer = timerAt(deadline, onDeadline);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#parent.removeEventListener("abort", this.#onAbort);
  }
}
