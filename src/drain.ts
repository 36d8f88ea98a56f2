import { setImmediate, setTimeout } from "node:timers/promises";
import type { Config } from "./config/config.ts";
import { ParleyError } from "./errors/parley-error.ts";
import type { PublicListener } from "./listen/public-listener.ts";
import type { HealthState } from "./rpc/health.ts";
import type { Runs } from "./runs/runs.ts";

/** How long callers may take to hear that the drain is over: two seconds after it, all of them are to be gone. */
const LAST_WORDS_MS = 1_000;

/** Shuts down in order: see Server.shutDown. */
export async function drain(
  { lameDuck, drain }: Config["server"],
  health: HealthState,
  listener: PublicListener,
  runs: Runs,
  shutdown: AbortController,
): Promise<void> {
  const reason = new ParleyError("SHUTTING_DOWN", "this replica is shutting down");
  health.stopServing();
  listener.letGo();
  await setTimeout(lameDuck);
  health.endWatches();
  const drained = listener.close();
  void runs.endAtAction(reason);
  // A call that was on its way may have begun a run.
  await waitAtMost(
    drain,
    Promise.all([drained, runs.idle()]).then(() => runs.idle()),
  );
  // Those who watch a run hear how it has ended before their calls do.
  await runs.interrupt(reason);
  await setImmediate();
  shutdown.abort(reason);
  await waitAtMost(LAST_WORDS_MS, drained);
}

async function waitAtMost(milliseconds: number, event: Promise<unknown>): Promise<void> {
  const waiting = new AbortController();
  const timeout = setTimeout(milliseconds, undefined, { signal: waiting.signal }).catch(() => {});
  await Promise.race([event, timeout]);
  waiting.abort();
}
