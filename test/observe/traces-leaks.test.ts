import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { queryObjects } from "node:v8";
import { ROOT_CONTEXT } from "@opentelemetry/api";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { ask, calls, says, watch } from "../support/runs.ts";
import { hang, ScriptedTools } from "../support/scripted-tools.ts";
import { type Service, startService } from "../support/service.ts";
import { startTraces } from "../support/traces.ts";

const CALLS_A_PHASE = 100;
const AT_A_TIME = 25;

const chat = { messages: [{ role: Role.USER, text: "hello" }] };
const answer = { content: [{ text: "Hello, you there, and everyone else" }] };

/** Each way that a call goes, with what Claude does for it, and whether its caller goes away. */
const phases: readonly { readonly steps: Script["steps"]; readonly isRun?: boolean; readonly leaves?: boolean }[] = [
  { steps: [{ respond: answer }] },
  { steps: [{ respond: answer, gate: "never" }], leaves: true },
  { steps: [{ respond: answer, gateAfter: { events: 6, gate: "never" } }], leaves: true },
  { steps: [{ respond: answer, gateAfter: { events: 6, gate: "never" } }], leaves: true, isRun: true },
  { steps: [calls(["look"]), says("Seen.")], isRun: true },
  { steps: [calls(["hang"])], isRun: true, leaves: true },
];

/** What a call could leave behind: how much of it there is. Counting objects collects garbage first. */
function leftovers({ simulator }: Service): Readonly<Record<string, () => number>> {
  const count = (type: Parameters<typeof queryObjects>[0]) => queryObjects(type, { format: "count" });
  return {
    // Whatever is observed of a call has one, and each has its span.
    contexts: () => count(ROOT_CONTEXT.constructor as never),
    // Of the whole process, and so of the callers and of the simulator, too: it remembers each request with a promise.
    promises: () => count(Promise) - simulator.requests.length,
    signals: () => count(AbortSignal as never),
    timers: () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length,
  };
}

test("hundreds of traced calls leave no span open, and nothing behind", { timeout: 120_000 }, async () => {
  const traces = startTraces();
  const tools = new ScriptedTools({ look: () => "seen", hang });
  const config = { logLevel: "silent", runs: { retention: 1 } } as const;
  await using service = await startService({ config, overrides: { telemetry: traces.telemetry, tools } });
  const agents = service.client(AgentService);

  async function call({ isRun = false, leaves = false }: (typeof phases)[number]): Promise<void> {
    const leaving = new AbortController();
    await traces.caller(async (headers) => {
      const options = { headers, signal: leaving.signal };
      const going = isRun
        ? watch(agents.runAgent(ask(tools) as never, options), ({ event }) => {
            if (leaves && event.case === "toolCallStarted") leaving.abort();
          })
        : service.chat.chat(chat, options).catch(() => {});
      await service.simulator.nextRequest();
      if (leaves && !isRun) leaving.abort();
      if (leaves && isRun) setImmediate(() => leaving.abort());
      await going;
    });
    await service.nextCall();
  }

  async function round(callsAPhase: number): Promise<void> {
    for (const phase of phases) {
      const steps = phase.steps.map((step) => ({ ...step, expect: { path: "/v1/messages" }, times: callsAPhase }));
      service.simulator.run({ steps });
      for (let done = 0; done < callsAPhase; done += AT_A_TIME) {
        await Promise.all(Array.from({ length: AT_A_TIME }, () => call(phase)));
      }
    }
    await traces.settled();
    traces.forget();
    tools.calls.length = 0;
    while (service.simulator.activeRequests > 0) await turn();
  }

  await round(AT_A_TIME);
  const counts = Object.entries(leftovers(service));
  const before = new Map(counts.map(([name, count]) => [name, count()]));
  await round(CALLS_A_PHASE);
  // Calls that have just ended may still be on their way out, and garbage is collected in several rounds.
  const grown = (some: typeof counts) => some.filter(([name, count]) => count() > (before.get(name) ?? 0) + AT_A_TIME);
  let left = grown(counts);
  for (let rounds = 0; rounds < 20 && left.length > 0; rounds++) {
    await turn();
    left = grown(left);
  }
  assert.deepEqual(
    left.map(([name, count]) => [name, before.get(name), count()]),
    [],
  );
  assert.equal(traces.open.size, 0);
});
