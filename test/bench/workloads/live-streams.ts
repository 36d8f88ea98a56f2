import { setTimeout as sleep } from "node:timers/promises";
import type { Caller } from "../load/caller.ts";
import { TokenCounter } from "../load/tokens.ts";
import type { Upstream } from "../load/upstream.ts";
import type { Subject } from "../servers/subjects.ts";

/** How long all streams may take to begin, in milliseconds. */
const BEGIN_MS = 10_000;

/** Streams that go on at the pace of a model. */
export interface LiveStreams {
  readonly caller: Caller;
  /** Counts their tokens. */
  readonly counter: TokenCounter;
  /** Cancels them, and resolves when the upstream has no answer left. Throws when one has not gone on until now. */
  end(): Promise<void>;
}

/** Opens streams, and resolves when all have begun, or the time for it is over: `end` tells. */
export async function openLiveStreams(
  subject: Subject,
  upstream: Upstream,
  { streams, intervalMs }: { readonly streams: number; readonly intervalMs: number },
): Promise<LiveStreams> {
  upstream.plan = { kind: "paced", intervalMs };
  const caller = await subject.open();
  const counter = new TokenCounter();
  let ended = 0;
  const cancels = Array.from({ length: streams }, () =>
    caller.call("stream", counter, "", () => {
      ended++;
    }),
  );
  for (const end = performance.now() + BEGIN_MS; upstream.open < streams && performance.now() < end; ) await sleep(50);
  return {
    caller,
    counter,
    async end() {
      if (ended > 0 || upstream.open < streams) throw new Error(`${subject.name}: not all streams have gone on`);
      for (const cancel of cancels) cancel();
      caller.close();
      while (upstream.open > 0) {
        upstream.finish();
        await sleep(50);
      }
    },
  };
}
