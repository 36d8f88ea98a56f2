import assert from "node:assert/strict";
import { test } from "node:test";
import { RetryBudget, waitForRetry } from "../../src/agent/retry.ts";
import { ClaudeError } from "../../src/errors/claude-error.ts";

const overloaded = (retryAfterMs?: number) =>
  new ClaudeError({
    status: 529,
    type: "overloaded_error",
    errorCode: undefined,
    message: undefined,
    requestId: undefined,
    retryAfterMs,
  });

const policy = { maxAttempts: 10, baseDelayMs: 100, maxDelayMs: 1_000 };
const limits = { signal: new AbortController().signal, deadline: Number.POSITIVE_INFINITY };

/** How long `waitForRetry` waits, by a clock of its own. */
async function waited(attempt: number, random: number, retryAfterMs?: number): Promise<number> {
  const slept: number[] = [];
  const sleep = async (milliseconds: number) => slept.push(milliseconds);
  const retrier = { policy, budget: new RetryBudget(), random: () => random, sleep };
  assert.equal(await waitForRetry(overloaded(retryAfterMs), attempt, retrier, limits), true);
  assert.equal(slept.length, 1);
  return slept[0] ?? Number.NaN;
}

test("the range that waits are drawn from doubles, up to the longest", async () => {
  const longest = [];
  for (let attempt = 1; attempt <= 6; attempt++) longest.push(await waited(attempt, 1));
  assert.deepEqual(longest, [100, 200, 400, 800, 1_000, 1_000]);
});

test("a wait is drawn from all of the range", async () => {
  assert.equal(await waited(3, 0.5), 200);
  assert.equal(await waited(3, 0), 0);
});

test("the wait that Claude asks for is the least", async () => {
  assert.equal(await waited(1, 1, 700), 700);
  assert.equal(await waited(4, 1, 700), 800);
});

test("there is no wait when the request may not be made again", async () => {
  const sleep = async () => assert.fail("there was a wait");
  const retrier = { policy, budget: new RetryBudget(), random: () => 0, sleep };
  const soon = { ...limits, deadline: performance.now() + 50 };
  assert.equal(await waitForRetry(overloaded(), 10, retrier, limits), false, "attempts are used up");
  assert.equal(await waitForRetry(overloaded(60), 1, retrier, soon), false, "the deadline comes before");
  assert.equal(await waitForRetry(overloaded(1_001), 1, retrier, limits), false, "the wait is too long");
  assert.equal(await waitForRetry(new Error("?"), 1, retrier, limits), false, "the error is not known");
});

test("the budget closes at half of its tokens, and opens again with successes", () => {
  const budget = new RetryBudget();
  const half = RetryBudget.maxTokens / 2;
  for (let i = 0; i < half; i++) {
    assert.ok(budget.allowsRetry);
    budget.failed();
  }
  assert.ok(!budget.allowsRetry);
  for (let i = 0; i < 1 / RetryBudget.tokensPerSuccess; i++) budget.succeeded();
  assert.ok(budget.allowsRetry);
});
