import { ApiError } from "./api-error.ts";

/** Limits that are announced when none are set, and never enforced. */
const UNLIMITED = { requests: 100_000, tokens: 100_000_000 };

const MINUTE_MS = 60_000;

/** The rate limits of the organization. */
export interface RateLimits {
  /**
   * Takes a request with so many uncached input tokens off the limits.
   * @throws {ApiError} 429 when there is not enough left, with `retry-after`.
   */
  admit(inputTokens: number): void;
  /** Takes the tokens of an answer off the limits. */
  charge(outputTokens: number): void;
  /** The `anthropic-ratelimit-*` headers. */
  headers(): Record<string, string>;
}

export interface RateLimitOptions {
  readonly requestsPerMinute?: number | undefined;
  /** Input, without what is read from the cache, and output together. */
  readonly tokensPerMinute?: number | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A token bucket that refills continuously, as Claude's do. */
interface Bucket {
  readonly limit: number;
  left(): number;
  take(amount: number): void;
  /** Milliseconds until so much is left. */
  waitFor(amount: number): number;
}

function createBucket(limit: number, now: () => number): Bucket {
  let level = limit;
  let levelAt = now();
  const left = () => Math.min(limit, level + ((now() - levelAt) * limit) / MINUTE_MS);
  return {
    limit,
    left,
    take(amount) {
      level = left() - amount;
      levelAt = now();
    },
    waitFor: (amount) => Math.max(0, ((amount - left()) * MINUTE_MS) / limit),
  };
}

/** Rate limits with nothing used. */
export function createRateLimits({ requestsPerMinute, tokensPerMinute, now }: RateLimitOptions): RateLimits {
  const tokenLimit = tokensPerMinute ?? UNLIMITED.tokens;
  const buckets = {
    requests: createBucket(requestsPerMinute ?? UNLIMITED.requests, now),
    tokens: createBucket(tokenLimit, now),
    "input-tokens": createBucket(tokenLimit, now),
    "output-tokens": createBucket(tokenLimit, now),
  };

  function require(bucket: Bucket, amount: number, unit: string): void {
    const wait = bucket.waitFor(Math.min(amount, bucket.limit));
    if (wait === 0) return;
    throw new ApiError(
      429,
      "rate_limit_error",
      `This request would exceed your organization's rate limit of ${bucket.limit} ${unit} per minute.`,
      { headers: { "retry-after": String(Math.ceil(wait / 1000)) } },
    );
  }

  return {
    admit(inputTokens) {
      if (requestsPerMinute !== undefined) require(buckets.requests, 1, "requests");
      if (tokensPerMinute !== undefined) require(buckets.tokens, inputTokens, "tokens");
      buckets.requests.take(1);
      buckets.tokens.take(inputTokens);
      buckets["input-tokens"].take(inputTokens);
    },
    charge(outputTokens) {
      buckets.tokens.take(outputTokens);
      buckets["output-tokens"].take(outputTokens);
    },
    headers() {
      const headers: Record<string, string> = {};
      for (const [name, bucket] of Object.entries(buckets)) {
        headers[`anthropic-ratelimit-${name}-limit`] = String(bucket.limit);
        headers[`anthropic-ratelimit-${name}-remaining`] = String(Math.max(0, Math.floor(bucket.left())));
        const resetAt = Math.ceil((now() + bucket.waitFor(bucket.limit)) / 1000) * 1000;
        headers[`anthropic-ratelimit-${name}-reset`] = new Date(resetAt).toISOString().replace(".000Z", "Z");
      }
      return headers;
    },
  };
}
