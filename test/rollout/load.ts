import { setTimeout } from "node:timers/promises";
import type { Caller } from "./callers.ts";

/** What became of the calls. */
export interface Outcome {
  readonly calls: number;
  readonly streams: number;
  /** How often each kind of failure was seen. */
  readonly failures: Readonly<Record<string, number>>;
}

/** Whether rollouts are tried for as long as they were promised to go well, or just once. */
export const IS_LONG = process.env.LONG_TESTS === "1";

/** Why they are not tried; false: they are. `.ci/run` tries them by themselves. */
export const TRIED_APART = process.env.CI_TOOLS === "1" && !IS_LONG && "CI tries it by itself";

const STREAMS = 100;
const CALLS_A_SECOND = 100;
/** As many as are made in a second: a call takes far less, unless the machine cannot keep up. */
const CALLS_AT_A_TIME = CALLS_A_SECOND;
const TICK_MS = 20;
/** About as long as a stream takes. */
const SPREAD_MS = 1_000;

/** Makes 100 calls a second, and keeps 100 streams going, until something has been done. */
export async function underLoad(caller: Caller, something: Promise<unknown>): Promise<Outcome> {
  let isDone = false;
  let calls = 0;
  let streams = 0;
  const failures: Record<string, number> = {};
  const count = (call: Promise<void>) =>
    call.catch((error: Error) => {
      failures[error.message] = (failures[error.message] ?? 0) + 1;
    });

  const streaming = Array.from({ length: STREAMS }, async (_, index) => {
    // They begin and end at different times, as those of callers who know nothing of each other do.
    await setTimeout((index / STREAMS) * SPREAD_MS);
    for (; !isDone; streams++) {
      await count(caller.streamChat());
      // What fails at once would leave no time for all else.
      await setTimeout(1);
    }
  });
  const calling = new Set<Promise<void>>();
  const ticking = (async () => {
    const began = performance.now();
    while (!isDone) {
      // On a machine that is busy, what was not made in its time is made up for, and never all of it at once.
      const due = ((performance.now() - began) / 1_000) * CALLS_A_SECOND;
      for (; calls < due && calling.size < CALLS_AT_A_TIME; calls++) {
        const call: Promise<void> = count(caller.chat()).finally(() => calling.delete(call));
        calling.add(call);
      }
      await setTimeout(TICK_MS);
    }
  })();
  try {
    await something;
  } finally {
    isDone = true;
    await ticking;
    await Promise.all([...streaming, ...calling]);
  }
  return { calls, streams, failures };
}
