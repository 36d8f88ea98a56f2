import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { now, TokenCounter } from "../load/tokens.ts";
import type { Upstream } from "../load/upstream.ts";
import type { Subject } from "../servers/subjects.ts";
import { quantile } from "../statistics.ts";
import { openLiveStreams } from "./live-streams.ts";

export interface CancelStorm {
  /** Calls that go on all the time. */
  readonly streams: number;
  /** Calls that are made in each second, each to be cancelled. */
  readonly perSecond: number;
  readonly durationMs: number;
}

export interface CancelStormResult {
  /** Calls that were cancelled after they had come to the upstream. */
  readonly cancelled: number;
  /** Those of them whose connection to the upstream was closed. */
  readonly closed: number;
  /** Time from the cancellation to that, in microseconds. */
  readonly p50: number;
  readonly p99: number;
  /** How late the tokens of the other streams came, in microseconds. */
  readonly liveP99: number;
}

const INTERVAL_MS = 50;

/** A call is cancelled at a time between these after its begin, in milliseconds: before its first token, or later. */
const LEAST_AGE_MS = 1;
const MOST_AGE_MS = 200;

/** How long to wait for connections to be closed after the last cancellation, in milliseconds. */
const LAST_MS = 3_000;

/** Many calls are cancelled while others go on: how soon the upstream feels it, and whether the others do. */
export async function cancelStorm(
  subject: Subject,
  upstream: Upstream,
  { streams, perSecond, durationMs }: CancelStorm,
): Promise<CancelStormResult> {
  const { caller, counter: live, end } = await openLiveStreams(subject, upstream, { streams, intervalMs: INTERVAL_MS });
  const cancelledAt = new Map<string, number>();
  const reached = new Set<string>();
  const times: number[] = [];
  upstream.onRequest = (body, socket: Socket) => {
    const [name] = /storm \d+/.exec(body.toString()) ?? [];
    if (name === undefined) return;
    reached.add(name);
    socket.once("close", () => {
      const at = cancelledAt.get(name);
      if (at !== undefined) times.push(now() - at);
    });
  };
  live.measure();
  const others = new TokenCounter();
  const begin = performance.now();
  for (let call = 0; performance.now() - begin < durationMs; ) {
    for (const due = ((performance.now() - begin) / 1_000) * perSecond; call < due; call++) {
      const name = `storm ${call}`;
      const cancel = caller.call("stream", others, ` ${name}`, () => {
        throw new Error(`${subject.name}: a call has ended before it was cancelled`);
      });
      setTimeout(
        () => {
          cancelledAt.set(name, now());
          cancel();
        },
        LEAST_AGE_MS + Math.random() * (MOST_AGE_MS - LEAST_AGE_MS),
      );
    }
    await sleep(1);
  }
  await sleep(MOST_AGE_MS + 50);
  const late = live.take();
  const waitUntil = performance.now() + LAST_MS;
  while (times.length < reached.size && performance.now() < waitUntil) await sleep(20);
  upstream.onRequest = () => {};
  await end();
  times.sort((a, b) => a - b);
  return {
    cancelled: reached.size,
    closed: times.length,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    liveP99: quantile(late, 0.99),
  };
}
