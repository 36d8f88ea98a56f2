import { setTimeout as sleep } from "node:timers/promises";
import { TokenCounter } from "../load/tokens.ts";
import type { Upstream } from "../load/upstream.ts";
import type { Subject } from "../servers/subjects.ts";

export interface StalledResult {
  /** Heap and external memory that the readers took, in bytes: after some time, and how much of it came later. */
  readonly bytes: number;
  readonly growth: number;
}

/** Callers that stop reading an answer without end: what waits for them. */
export async function stalled(
  subject: Subject,
  upstream: Upstream,
  { readers, durationMs }: { readonly readers: number; readonly durationMs: number },
): Promise<StalledResult> {
  upstream.plan = { kind: "endless" };
  const base = (await subject.server.usage(true)).memory;
  const caller = await subject.open(false);
  for (let reader = 0; reader < readers; reader++) caller.call("stream", new TokenCounter(), "", () => {});
  await sleep(durationMs / 2);
  const early = (await subject.server.usage(true)).memory;
  await sleep(durationMs / 2);
  const late = (await subject.server.usage(true)).memory;
  caller.close();
  while (upstream.open > 0) await sleep(50);
  return { bytes: late - base, growth: late - early };
}
