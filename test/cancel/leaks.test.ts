import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { queryObjects } from "node:v8";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { Output } from "../../src/rpc/output.ts";
import type { Script } from "../../src/simulator/simulator.ts";
import { Answer } from "../../src/upstream/answer.ts";
import { MessageStream } from "../../src/upstream/message-stream.ts";
import { type Service, startService } from "../support/service.ts";

const request = { messages: [{ role: Role.USER, text: "hello" }] };
const answer = { content: [{ text: "Hello, you there, and everyone else" }] };

/** One of each phase that a call can be cancelled in, and one that comes to its end. */
const steps: Script["steps"] = [
  { respond: answer, gate: "never" },
  { respond: answer, gateAfter: { events: 2, gate: "never" } },
  { respond: answer, gateAfter: { events: 6, gate: "never" } },
  { respond: { status: 529, headers: { "retry-after": "15" }, error: { type: "overloaded_error", message: "" } } },
];
const CALLS_A_PHASE = 500;
const AT_A_TIME = 50;

/** What a call could leave behind. Counting objects collects garbage first. */
function left({ server, simulator }: Service) {
  const count = (type: Parameters<typeof queryObjects>[0]) => queryObjects(type, { format: "count" });
  return {
    streams: count(MessageStream),
    answers: count(Answer),
    outputs: count(Output),
    // What follows is of the whole process, and so of the callers and of the simulator, too: it remembers each request
    // with a promise of its end.
    promises: count(Promise) - simulator.requests.length,
    signals: count(AbortSignal as never),
    timers: process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length,
    sockets: process.getActiveResourcesInfo().filter((resource) => resource.startsWith("TCP")).length,
    connections: server.connections,
  };
}

test("thousands of calls, cancelled in every phase, leave nothing behind", { timeout: 120_000 }, async () => {
  await using service = await startService({ config: { logLevel: "silent" } });

  async function cancelled(): Promise<void> {
    const controller = new AbortController();
    const call = service.chat.streamChat({ chat: request }, { signal: controller.signal });
    const gone = (async () => {
      for await (const _ of call);
    })().catch(() => {});
    const upstream = await service.simulator.nextRequest();
    controller.abort();
    await gone;
    await upstream.ended;
    await service.nextCall();
  }

  async function round(callsAPhase: number): Promise<void> {
    for (const step of steps) {
      service.simulator.run({ steps: [{ ...step, times: callsAPhase }] });
      for (let done = 0; done < callsAPhase; done += AT_A_TIME) {
        await Promise.all(Array.from({ length: Math.min(AT_A_TIME, callsAPhase - done) }, cancelled));
      }
    }
    service.simulator.run({ steps: [{ respond: answer, times: callsAPhase }] });
    for (let done = 0; done < callsAPhase; done += AT_A_TIME) {
      await Promise.all(
        Array.from({ length: Math.min(AT_A_TIME, callsAPhase - done) }, async () => {
          for await (const _ of service.chat.streamChat({ chat: request }));
          await service.nextCall();
        }),
      );
    }
    while (service.simulator.activeRequests > 0) await turn();
  }

  await round(AT_A_TIME);
  const before = left(service);
  await round(CALLS_A_PHASE);
  // Calls that have just ended may still be on their way out, and garbage is collected in several rounds.
  const grown = () => {
    const after = left(service);
    return Object.entries(after).filter(([name, count]) => count > before[name as keyof typeof before] + AT_A_TIME);
  };
  for (let rounds = 0; rounds < 20 && grown().length > 0; rounds++) await turn();
  assert.deepEqual(grown(), [], `before: ${JSON.stringify(before)}`);
});
