import { setTimeout as sleep } from "node:timers/promises";
import type { CallKind } from "../load/caller.ts";
import { TokenCounter } from "../load/tokens.ts";
import type { Upstream } from "../load/upstream.ts";
import type { Subject } from "../servers/subjects.ts";

export interface ClosedLoop {
  readonly kind: CallKind;
  /** Calls at a time: each that ends is followed by another. */
  readonly concurrency: number;
  /** Tokens of each answer. */
  readonly tokens: number;
  readonly durationMs: number;
}

export interface ClosedLoopResult {
  readonly calls: number;
  /** All calls, also those before and after what was measured. */
  readonly made: number;
  readonly tokens: number;
  /** CPU time of the server, in microseconds. */
  readonly cpu: number;
  readonly seconds: number;
}

const RAMP_MS = 500;

/** Keeps a server busy, and tells what that took. */
export async function closedLoop(
  subject: Pick<Subject, "server" | "open"> & { readonly name: string },
  upstream: Upstream,
  { kind, concurrency, tokens, durationMs }: ClosedLoop,
): Promise<ClosedLoopResult> {
  upstream.plan = { kind: "burst", tokens };
  const caller = await subject.open();
  const counter = new TokenCounter();
  let calls = 0;
  let running = concurrency;
  let stopping = false;
  let failure: Error | undefined;
  const { promise: ended, resolve } = Promise.withResolvers<void>();

  function start(): void {
    caller.call(kind, counter, "", (result) => {
      calls++;
      const expected = kind === "unary" ? 1 : tokens;
      if (!result.complete || result.tokens !== expected)
        failure ??= new Error(`${subject.name}: an answer with ${result.tokens} tokens, complete: ${result.complete}`);
      if (!stopping && failure === undefined) start();
      else if (--running === 0) resolve();
    });
  }
  for (let call = 0; call < concurrency; call++) start();

  await sleep(RAMP_MS);
  const before = { at: performance.now(), calls, tokens: counter.count, ...(await subject.server.usage()) };
  await sleep(durationMs);
  const { cpu } = await subject.server.usage();
  const measured = {
    calls: calls - before.calls,
    tokens: counter.count - before.tokens,
    cpu: cpu - before.cpu,
    seconds: (performance.now() - before.at) / 1_000,
  };
  stopping = true;
  await ended;
  caller.close();
  if (failure !== undefined) throw failure;
  return { ...measured, made: calls };
}
