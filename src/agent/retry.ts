import { ClaudeError } from "../errors/claude-error.ts";
import { isTelling } from "../errors/failure.ts";
import type { FailedAttempt } from "../upstream/upstream.ts";

export interface RetryPolicy {
  /** How often a request is made at the most, the first time included. */
  readonly maxAttempts: number;
  /** The first wait is drawn from 0 to this, in milliseconds; each further one from twice as much. */
  readonly baseDelayMs: number;
  /** The longest wait, in milliseconds. A `retry-after` above it is left to the caller to wait for. */
  readonly maxDelayMs: number;
}

/**
 * Keeps an outage from being multiplied: when many requests fail, retries would only add to the load. The algorithm is
 * that of gRPC's retry throttling (gRFC A6): each failure takes a token, each success gives a part of one back, and
 * there are no retries while half of the tokens or less are left.
 */
export class RetryBudget {
  static readonly maxTokens = 100;
  static readonly tokensPerSuccess = 0.1;
  #tokens = RetryBudget.maxTokens;

  succeeded(): void {
    this.#tokens = Math.min(RetryBudget.maxTokens, this.#tokens + RetryBudget.tokensPerSuccess);
  }

  failed(): void {
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  get allowsRetry(): boolean {
    return this.#tokens > RetryBudget.maxTokens / 2;
  }
}

export interface Retrier {
  readonly policy: RetryPolicy;
  /** Shared by all calls to the same upstream. */
  readonly budget: RetryBudget;
  /** Draws a number from 0 to 1. */
  readonly random: () => number;
  /** Waits for so many milliseconds. Rejects at once when the signal is aborted. */
  readonly sleep: (milliseconds: number, signal: AbortSignal) => Promise<unknown>;
}

export interface RetryLimits {
  readonly signal: AbortSignal;
  /** When the call must be over, by `performance.now()`. */
  readonly deadline: number;
}

/**
 * Waits until a failed request may be made again.
 *
 * @param attempt number of the attempt that failed, from 1.
 * @returns false, at once, when it should not be made again: because of the kind of the error, or because attempts, time
 * or budget are used up.
 * @throws the signal's reason when it is aborted.
 */
export async function waitForRetry(
  error: unknown,
  attempt: number,
  { policy, budget, random, sleep }: Retrier,
  { signal, deadline }: RetryLimits,
): Promise<boolean> {
  signal.throwIfAborted();
  if (!shouldRetry(error)) return false;
  budget.failed();
  if (attempt >= policy.maxAttempts || !budget.allowsRetry) return false;
  const backOff = random() * Math.min(policy.maxDelayMs, policy.baseDelayMs * 2 ** (attempt - 1));
  const told = error instanceof ClaudeError ? (error.answer.retryAfterMs ?? 0) : 0;
  const delay = Math.max(told, backOff);
  if (told > policy.maxDelayMs || performance.now() + delay >= deadline) return false;
  await sleep(delay, signal).catch(() => signal.throwIfAborted());
  return true;
}

/** Claude's own word (`x-should-retry`) counts more than the kind of the error. */
function shouldRetry(error: unknown): boolean {
  if (error instanceof ClaudeError && error.answer.shouldRetry !== undefined) return error.answer.shouldRetry;
  return isTelling(error) && error.failure.retryable;
}

/** Makes a request, and makes it again while `waitForRetry` allows it. */
export async function withRetries<T>(
  request: (after: FailedAttempt | undefined) => Promise<T>,
  retrier: Retrier,
  limits: RetryLimits,
): Promise<T> {
  let after: FailedAttempt | undefined;
  for (let attempt = 1; ; attempt++) {
    try {
      const result = await request(after);
      retrier.budget.succeeded();
      return result;
    } catch (error) {
      after = { attempt, error };
      if (!(await waitForRetry(error, attempt, retrier, limits))) throw error;
    }
  }
}
