import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { type ServiceProcess, startServiceProcess } from "../support/process.ts";
import { callers } from "./callers.ts";
import {
  assertToldAlike,
  BEFORE_TEXT,
  chat,
  codeOf,
  failureOf,
  failures,
  phases,
  requestOf,
  respond,
} from "./cases.ts";
import { type Envoy, missingEnvoy, startEnvoy } from "./envoy.ts";
import { restartBehind } from "./rollout.ts";

/** More than the 1,024 that are Envoy's default. */
const STREAMS = 1_100;
/** Longer than the 15 s that are Envoy's default. */
const LONG_MS = 16_000;
const TIMEOUT = { timeout: 120_000 };

describe("behind Envoy with the guide's configuration", { skip: missingEnvoy(), concurrency: true }, () => {
  test("a call and a stream pass that take longer than Envoy lets calls take by default", TIMEOUT, async () => {
    const clients = Object.values(callers);
    const slow = { respond, timing: { firstTokenMs: LONG_MS }, times: 2 * clients.length };
    await using simulator = await createSimulator({ pacing: "instant", script: { steps: [slow] } });
    await using service = await startServiceProcess({ ANTHROPIC_BASE_URL: simulator.url });
    await using envoy = await startEnvoy([service.port]);
    await Promise.all(
      clients.map(async (callerOf) => {
        using caller = callerOf(envoy.url);
        const [answer, end] = await Promise.all([caller.chat(chat), codeOf(caller, "hello")]);
        assert.equal(answer.content.length, 1);
        assert.equal(end, "complete");
      }),
    );
  });

  // Envoy goes on naming a replica that has gone, as it does for a while when it finds them by DNS.
  test("a rolling restart of two replicas fails no call and cuts no stream", TIMEOUT, (context) =>
    restartBehind(startEnvoy, 2, context),
  );

  describe("of one replica", { concurrency: false }, () => {
    let simulator: Simulator;
    let service: ServiceProcess;
    let envoy: Envoy;
    before(async () => {
      simulator = await createSimulator({ pacing: "instant" });
      const config = { claude: { retry: { maxAttempts: 1 } } };
      service = await startServiceProcess({ ANTHROPIC_BASE_URL: simulator.url }, config);
      envoy = await startEnvoy([service.port]);
    });
    after(async () => {
      await envoy?.[Symbol.asyncDispose]();
      await service?.[Symbol.asyncDispose]();
      await simulator?.[Symbol.asyncDispose]();
    });

    test("more streams at a time begin than Envoy lets in by default", async () => {
      const held = { respond, gateAfter: { events: BEFORE_TEXT + 2, gate: "all have begun" }, times: STREAMS };
      simulator.run({ steps: [held] });
      using open = new DisposableStack();
      const clients = Object.values(callers).map((callerOf) => open.use(callerOf(envoy.url)));
      let begun = 0;
      const streams = Array.from({ length: STREAMS }, async (_, index) => {
        let last: string | undefined;
        for await (const { event } of clients[index % clients.length]?.streamChat(chat) ?? []) {
          if (last === undefined) begun += 1;
          if (begun === STREAMS) simulator.open("all have begun");
          last = event.case;
        }
        return last;
      });
      // The first that is refused fails this.
      assert.deepEqual(new Set(await Promise.all(streams)), new Set(["messageStop"]));
    });

    for (const [name, callerOf] of Object.entries(callers)) {
      for (const [phase, step] of Object.entries(phases)) {
        test(`a caller that cancels ${phase} stops the request to Claude, with ${name}`, async () => {
          simulator.run({ steps: [step] });
          using caller = callerOf(envoy.url);
          const controller = new AbortController();
          const text = `${name} ${phase}`;
          const left = codeOf(caller, text, controller.signal);
          const request = await requestOf(simulator, text);
          controller.abort();
          assert.equal(await left, "Canceled");
          assert.equal((await request.ended).how, "client-closed");
        });
      }

      for (const [what, failure] of Object.entries(failures)) {
        test(`a call tells as much of ${what} as without Envoy, with ${name}`, async () => {
          await assertToldAlike(simulator, callerOf, [envoy.url, service.url], failure);
        });
      }

      test(`the loss of a replica is INTERNAL in an answer, UNAVAILABLE before it, with ${name}`, async () => {
        simulator.run({ steps: [phases["between two tokens"] ?? {}] });
        await using replica = await startServiceProcess({ ANTHROPIC_BASE_URL: simulator.url });
        await using alone = await startEnvoy([replica.port]);
        using caller = callerOf(alone.url);
        await assert.rejects(
          async () => {
            for await (const { event } of caller.streamChat(chat)) {
              if (event.case === "contentBlockDelta") replica.child.kill("SIGKILL");
            }
          },
          (error) => caller.told(error).code === "Internal",
        );
        await replica.exit;
        assert.equal((await failureOf(caller, chat)).code, "Unavailable");
      });
    }
  });
});
