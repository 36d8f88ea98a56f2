import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { createSimulator } from "../../src/simulator/simulator.ts";
import { freePort } from "../support/free-port.ts";
import { startServiceProcess } from "../support/process.ts";
import { callers } from "./callers.ts";
import { chatOf, respond } from "./cases.ts";

/** Between two calls of a caller, in milliseconds. */
const PAUSE_MS = 5;

/** What stands before the replicas. */
export interface Proxy extends AsyncDisposable {
  readonly url: string;
  /** Sends a replica no more calls; left out: it is not told which replicas are ready. */
  lookAwayFrom?(upstream: number): void;
  /** Sends it calls again. */
  lookBackAt?(upstream: number): void;
}

/** Restarts two replicas one after the other, while callers call them through a proxy: asserts that no call fails. */
export async function restartBehind(
  startProxy: (upstreams: readonly number[]) => Promise<Proxy>,
  callersOfAKind: number,
  context: TestContext,
): Promise<void> {
  const streamed = { respond, timing: { firstTokenMs: 100, tokensPerSecond: 4 }, times: 1_000_000 };
  await using simulator = await createSimulator({
    pacing: "instant",
    script: {
      anyOrder: true,
      steps: [
        { expect: { contains: "call" }, respond, times: 1_000_000 },
        { expect: { contains: "stream" }, ...streamed },
      ],
    },
  });
  await using replicas = new AsyncDisposableStack();
  const ports = [await freePort(), await freePort()];
  const config = { server: { lameDuck: "2s", drain: "20s" } };
  const start = async (port: number) =>
    replicas.use(await startServiceProcess({ ANTHROPIC_BASE_URL: simulator.url, PORT: String(port) }, config));
  const running = await Promise.all(ports.map(start));
  await using proxy = await startProxy(ports);

  const ends: Record<string, number> = {};
  const end = (key: string) => {
    ends[key] = (ends[key] ?? 0) + 1;
  };
  const stopping = new AbortController();
  const kinds = Object.entries(callers).flatMap(([name, callerOf]) =>
    Array.from({ length: callersOfAKind }, () => ({ name, callerOf })),
  );
  const calling = kinds.map(async ({ name, callerOf }) => {
    using caller = callerOf(proxy.url);
    while (!stopping.signal.aborted) {
      await caller.chat(chatOf("call")).then(
        () => end(`${name}: call`),
        (error) => end(`${name}: call ${caller.told(error).code}`),
      );
      await setTimeout(PAUSE_MS);
    }
  });
  const streaming = kinds.map(async ({ name, callerOf }) => {
    using caller = callerOf(proxy.url);
    while (!stopping.signal.aborted) {
      let last: string | undefined;
      try {
        for await (const { event } of caller.streamChat(chatOf("stream"))) last = event.case;
        end(`${name}: stream${last === "messageStop" ? "" : ` without an end`}`);
      } catch (error) {
        end(`${name}: stream ${caller.told(error).code}`);
      }
    }
  });

  for (const [index, port] of ports.entries()) {
    running[index]?.child.kill("SIGTERM");
    await running[index]?.line(({ msg }) => String(msg).startsWith("shutting down"));
    proxy.lookAwayFrom?.(port);
    assert.equal(await running[index]?.exit, 0);
    await start(port);
    proxy.lookBackAt?.(port);
  }
  stopping.abort();
  await Promise.all([...calling, ...streaming]);
  context.diagnostic(JSON.stringify(ends));
  const names = Object.keys(callers);
  assert.deepEqual(Object.keys(ends).sort(), names.flatMap((name) => [`${name}: call`, `${name}: stream`]).sort());
}
