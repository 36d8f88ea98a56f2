import { setTimeout as sleep } from "node:timers/promises";
import type { Upstream } from "../load/upstream.ts";
import type { Subject } from "../servers/subjects.ts";
import { quantile } from "../statistics.ts";
import { openLiveStreams } from "./live-streams.ts";

export interface Paced {
  readonly streams: number;
  /** Time between two tokens of a stream, in milliseconds. */
  readonly intervalMs: number;
  readonly durationMs: number;
}

export interface PacedResult {
  /** Tokens that the upstream has sent. */
  readonly sent: number;
  /** Tokens that arrived in the same time. */
  readonly delivered: number;
  /** CPU time of the server, in microseconds. */
  readonly cpu: number;
  /** How late tokens arrived at the caller, in microseconds: the median, and what 99 of 100 keep. */
  readonly p50: number;
  readonly p99: number;
}

/** How long the calls may take to come to a steady pace, in milliseconds. */
const SETTLE_MS = 1_000;

/** Streams that all go on at the pace of a model, and how late their tokens come. */
export async function paced(
  subject: Subject,
  upstream: Upstream,
  { streams, intervalMs, durationMs }: Paced,
): Promise<PacedResult> {
  const { counter, end } = await openLiveStreams(subject, upstream, { streams, intervalMs });
  await sleep(SETTLE_MS);
  const before = { sent: upstream.sent, delivered: counter.count, ...(await subject.server.usage()) };
  counter.measure();
  await sleep(durationMs);
  const sent = upstream.sent - before.sent;
  const delivered = counter.count - before.delivered;
  const { cpu } = await subject.server.usage();
  const late = counter.take();
  await end();
  return { sent, delivered, cpu: cpu - before.cpu, p50: quantile(late, 0.5), p99: quantile(late, 0.99) };
}
