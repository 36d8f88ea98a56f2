import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator } from "../../src/simulator/simulator.ts";
import { missingTools } from "../chart/tools.ts";
import { freePort } from "../support/free-port.ts";
import { startServiceProcess } from "../support/process.ts";
import { callers } from "./callers.ts";
import { ingressAnnotations } from "./chart.ts";
import { readAnnotations } from "./ingress-nginx.ts";
import { missingNginx, startNginx } from "./nginx.ts";

const CALLERS_OF_A_KIND = 4;
/** Between two calls of a caller, in milliseconds. */
const PAUSE_MS = 5;

const chatOf = (text: string) => ({ messages: [{ role: Role.USER, text }] });
const respond = { content: [{ text: "one two six ten" }] };

test("a rolling restart of two replicas behind nginx fails no call and cuts no stream", {
  skip: missingNginx() || missingTools,
  timeout: 120_000,
}, async (context) => {
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
  await using nginx = await startNginx({
    settings: readAnnotations(await ingressAnnotations()),
    upstreams: ports,
  });

  const ends: Record<string, number> = {};
  const end = (key: string) => {
    ends[key] = (ends[key] ?? 0) + 1;
  };
  const stopping = new AbortController();
  const kinds = Object.entries(callers).flatMap(([name, callerOf]) =>
    Array.from({ length: CALLERS_OF_A_KIND }, () => ({ name, callerOf })),
  );
  const calling = kinds.map(async ({ name, callerOf }) => {
    using caller = callerOf(nginx.url);
    while (!stopping.signal.aborted) {
      await caller.chat(chatOf("call")).then(
        () => end(`${name}: call`),
        (error) => end(`${name}: call ${caller.told(error).code}`),
      );
      await setTimeout(PAUSE_MS);
    }
  });
  const streaming = kinds.map(async ({ name, callerOf }) => {
    using caller = callerOf(nginx.url);
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
    nginx.lookAwayFrom(port);
    assert.equal(await running[index]?.exit, 0);
    await start(port);
    nginx.lookBackAt(port);
  }
  stopping.abort();
  await Promise.all([...calling, ...streaming]);
  context.diagnostic(JSON.stringify(ends));
  const names = Object.keys(callers);
  assert.deepEqual(Object.keys(ends).sort(), names.flatMap((name) => [`${name}: call`, `${name}: stream`]).sort());
});
