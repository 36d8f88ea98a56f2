import { setTimeout as sleep } from "node:timers/promises";
import { TokenCounter } from "../load/tokens.ts";
import type { Upstream } from "../load/upstream.ts";
import type { Subject } from "../servers/subjects.ts";

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

/** How long the calls may take to begin, and to come to a steady pace, in milliseconds. */
const BEGIN_MS = 10_000;
const SETTLE_MS = 1_000;

/** Streams that all go on at the pace of a model, and how late their tokens come. */
export async function paced(
  subject: Subject,
  upstream: Upstream,
  { streams, intervalMs, durationMs }: Paced,
): Promise<PacedResult> {
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
  await sleep(SETTLE_MS);
  const before = { sent: upstream.sent, delivered: counter.count, ...(await subject.server.usage()) };
  counter.measure();
  await sleep(durationMs);
  const sent = upstream.sent - before.sent;
  const delivered = counter.count - before.delivered;
  const { cpu } = await subject.server.usage();
  const late = counter.take();
  if (ended > 0 || upstream.open < streams) throw new Error(`${subject.name}: not all streams have gone on`);
  for (const cancel of cancels) cancel();
  caller.close();
  while (upstream.open > 0) {
    upstream.finish();
    await sleep(50);
  }
  const at = (share: number) => late[Math.floor(late.length * share)] ?? Number.POSITIVE_INFINITY;
  return { sent, delivered, cpu: cpu - before.cpu, p50: at(0.5), p99: at(0.99) };
}
