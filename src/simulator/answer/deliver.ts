import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { ResolvedPacing } from "../pacing.ts";
import type { Answer, Part } from "./answer.ts";
import { type BodyWriter, createBodyWriter } from "./body-writer.ts";
import { type EarlyEnd, type Faults, findEarlyEnd, GARBAGE } from "./faults.ts";
import { encodeEvent, PING } from "./sse.ts";

/** How an answer is delivered. */
export interface DeliveryPlan {
  readonly pacing: ResolvedPacing;
  /** Milliseconds before the headers. */
  readonly delayMs: number;
  /** Milliseconds between pings while a stream is silent. */
  readonly pingMs: number;
  readonly faults: Faults;
  /** Resolves when the headers may go out. */
  readonly gate?: (() => Promise<void>) | undefined;
  /** Resolves when what comes after so many events may go out. */
  readonly gateAfter?: { readonly events: number; readonly passed: () => Promise<void> } | undefined;
}

/** What became of a delivery, kept up to date while it goes on. */
export interface Progress {
  eventsSent: number;
  /** Whether the simulator itself broke the answer off. */
  faulted: boolean;
}

/** Waits shorter than this are left out, and made up for by the next. Milliseconds. */
const SHORTEST_WAIT = 1;

/**
 * Sends an answer.
 * @throws the signal's reason as soon as it is aborted, that is when the client has gone.
 */
export async function deliver(
  response: ServerResponse,
  answer: Answer,
  plan: DeliveryPlan,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  if (plan.delayMs > 0) await sleep(plan.delayMs, undefined, { signal });
  if (plan.gate) await unlessAborted(plan.gate(), signal);
  if (plan.faults.closeBeforeHeaders) return destroy(response, progress);
  const beforeHeaders = generationTime(answer.tokensBeforeHeaders, plan.pacing);
  if (beforeHeaders >= SHORTEST_WAIT) await sleep(beforeHeaders, undefined, { signal });
  response.writeHead(answer.status, answer.headers);
  response.flushHeaders();
  const writer = createBodyWriter(response, plan.faults, signal);
  const early = await sendParts(answer, plan, progress, writer, signal);
  if (early) await endEarly(early, response, plan.faults, progress, writer, signal);
  else {
    await writer.flush();
    response.end();
  }
}

function generationTime(tokens: number, { firstTokenMs, tokensPerSecond }: ResolvedPacing): number {
  return tokens === 0 ? 0 : firstTokenMs + (tokens * 1000) / tokensPerSecond;
}

/** Sends the parts until the end, or until a fault strikes, which is then returned. */
async function sendParts(
  answer: Answer,
  plan: DeliveryPlan,
  progress: Progress,
  writer: BodyWriter,
  signal: AbortSignal,
): Promise<EarlyEnd | undefined> {
  const early = findEarlyEnd(plan.faults);
  const wait = createPacer(answer, plan, writer, signal);
  for (const part of answer.parts) {
    if (plan.gateAfter?.events === progress.eventsSent) await wait.forGate(plan.gateAfter.passed);
    if (early?.after === progress.eventsSent) return early;
    const due = wait.dueIn(part);
    if (due >= SHORTEST_WAIT) await wait.for(due);
    writer.add(part.data);
    progress.eventsSent++;
    if (writer.isFull) await writer.flush();
  }
  if (plan.gateAfter && plan.gateAfter.events >= progress.eventsSent) await wait.forGate(plan.gateAfter.passed);
  return early;
}

interface Pacer {
  /** Milliseconds until a part is due. */
  dueIn(part: Part): number;
  /** Sends what is collected, then waits, with pings. */
  for(milliseconds: number): Promise<void>;
  forGate(passed: () => Promise<void>): Promise<void>;
}

function createPacer(answer: Answer, plan: DeliveryPlan, writer: BodyWriter, signal: AbortSignal): Pacer {
  const { firstTokenMs, tokensPerSecond } = plan.pacing;
  const tokenMs = 1000 / tokensPerSecond;
  let nextAt = 0;

  async function waitFor(start: () => Promise<unknown>, longest: number): Promise<void> {
    await writer.flush();
    const pings = answer.streamed && longest > plan.pingMs ? setInterval(ping, plan.pingMs) : undefined;
    try {
      await start();
    } finally {
      clearInterval(pings);
    }
  }
  function ping(): void {
    writer.add(PING);
    writer.flush().catch(() => {});
  }

  return {
    dueIn(part) {
      if (part.pace === "none" || tokenMs === 0) return part.pace === "first" ? firstTokenMs : 0;
      const now = performance.now();
      nextAt = part.pace === "first" ? now + firstTokenMs : Math.max(nextAt, now - 1000) + tokenMs;
      return nextAt - now;
    },
    for: (milliseconds) => waitFor(() => sleep(milliseconds, undefined, { signal }), milliseconds),
    forGate: (passed) => waitFor(() => unlessAborted(passed(), signal), Number.POSITIVE_INFINITY),
  };
}

async function endEarly(
  { kind }: EarlyEnd,
  response: ServerResponse,
  faults: Faults,
  progress: Progress,
  writer: BodyWriter,
  signal: AbortSignal,
): Promise<void> {
  if (kind === "stall") {
    await writer.flush();
    return unlessAborted(new Promise(() => {}), signal);
  }
  if (kind === "error") writer.add(encodeEvent("error", JSON.stringify(faults.errorAfter?.body)));
  if (kind === "garbage") writer.add(GARBAGE);
  await writer.settle();
  if (kind === "cut") return destroy(response, progress);
  progress.faulted = true;
  response.end();
}

function destroy(response: ServerResponse, progress: Progress): void {
  progress.faulted = true;
  response.destroy();
}

/** Waits for a promise, but not longer than the signal allows. */
function unlessAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener("abort", onAbort));
}
