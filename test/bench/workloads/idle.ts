import { setTimeout as sleep } from "node:timers/promises";
import { TokenCounter } from "../load/tokens.ts";
import type { Upstream } from "../load/upstream.ts";
import type { Subject } from "../servers/subjects.ts";

export interface IdleResult {
  /** Heap and external memory that each stream took, in bytes. */
  readonly bytesPerStream: number;
  /** What was left of it when the streams had ended, in bytes a stream. */
  readonly leftPerStream: number;
}

const SETTLE_MS = 1_000;

/** Streams that have begun and say nothing: what each takes of memory. Measured the second time they are opened. */
export async function idle(subject: Subject, upstream: Upstream, streams: number): Promise<IdleResult> {
  await open(subject, upstream, streams);
  return open(subject, upstream, streams);
}

async function open(subject: Subject, upstream: Upstream, streams: number): Promise<IdleResult> {
  upstream.plan = { kind: "silent" };
  const memory = async () => {
    await sleep(SETTLE_MS);
    return (await subject.server.usage(true)).memory;
  };
  const base = await memory();
  const caller = await subject.open();
  let ended = 0;
  const { promise: allEnded, resolve } = Promise.withResolvers<void>();
  for (let stream = 0; stream < streams; stream++) {
    caller.call("stream", new TokenCounter(), "", ({ complete }) => {
      if (!complete) throw new Error(`${subject.name}: an idle stream was broken off`);
      if (++ended === streams) resolve();
    });
  }
  while (upstream.open < streams) await sleep(50);
  const used = await memory();
  upstream.finish();
  await allEnded;
  caller.close();
  upstream.hangUp();
  const left = await memory();
  return { bytesPerStream: (used - base) / streams, leftPerStream: (left - base) / streams };
}
