/** Takes three minutes, and next to no CPU: `npm test` leaves it out, `.ci/run` runs it beside everything else. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator } from "../../src/simulator/simulator.ts";
import { missingTools } from "../chart/tools.ts";
import { startServiceProcess } from "../support/process.ts";
import { type Caller, callers } from "./callers.ts";
import { ingressAnnotations } from "./chart.ts";
import { DEFAULTS, readAnnotations } from "./ingress-nginx.ts";
import { missingNginx, startNginx } from "./nginx.ts";

const GAP_MS = 70_000;
/** Then the block of text begins. A gap follows, a token, a gap, and the last token. */
const FIRST_CONTENT_MS = 40_000;
const TOKENS = ["one ", "two"];
/** What comes before the first gap: the message begins, and its block of text. */
const BEFORE_TEXT = 2;
const chat = { messages: [{ role: Role.USER, text: "hello" }] };

interface Outcome {
  readonly text: string[];
  /** From one event to the next, in milliseconds. */
  readonly silences: number[];
  readonly error: string | undefined;
}

/** Reads a stream to its end, whatever that is. */
async function outcomeOf(caller: Caller): Promise<Outcome> {
  const text: string[] = [];
  const silences: number[] = [];
  let before = performance.now();
  try {
    for await (const { event } of caller.streamChat(chat)) {
      silences.push(performance.now() - before);
      before = performance.now();
      assert.notEqual(event.case, "heartbeat");
      if (event.case === "contentBlockDelta") text.push(String(event.value.delta.value));
    }
    return { text, silences, error: undefined };
  } catch (error) {
    return { text, silences, error: caller.told(error).code };
  }
}

describe("a stream of three minutes with gaps of 70 s", {
  skip: missingNginx() || missingTools,
  timeout: 300_000,
}, async () => {
  test("passes nginx with the chart's settings, and is cut by nginx without them", async (context) => {
    const timing = { firstTokenMs: FIRST_CONTENT_MS, tokensPerSecond: 1_000 / GAP_MS };
    const respond = { content: [{ text: TOKENS.join("") }] };
    await using simulator = await createSimulator({ script: { steps: [{ respond, timing, times: 5 }] } });
    // Nothing breaks the silence: neither heartbeats nor the PINGs of HTTP/2, which are a sign of life for nginx, too.
    const config = { server: { heartbeat: "10m" }, limits: { keepAlive: "10m" } };
    await using service = await startServiceProcess({ ANTHROPIC_BASE_URL: simulator.url }, config);
    const upstreams = [service.port];
    const settings = readAnnotations(await ingressAnnotations());
    await using nginx = await startNginx({ settings, upstreams });
    await using bare = await startNginx({ settings: DEFAULTS, upstreams });

    const outcomes = async (url: string) =>
      Promise.all(
        Object.values(callers).map(async (callerOf) => {
          using caller = callerOf(url);
          return await outcomeOf(caller);
        }),
      );
    const begin = performance.now();
    const wholeAnswer = async () => {
      using caller = callers["grpc-js"]?.(nginx.url) as Caller;
      return await caller.chat(chat);
    };
    const [passed, cut, answer] = await Promise.all([outcomes(nginx.url), outcomes(bare.url), wholeAnswer()]);
    const seconds = ((performance.now() - begin) / 1_000).toFixed(1);

    context.diagnostic(
      `${seconds} s; silences in ms: ${JSON.stringify({ passed, cut }, ["passed", "cut", "silences"])}`,
    );
    for (const { text, silences, error } of passed) {
      assert.equal(error, undefined);
      assert.deepEqual(text, TOKENS);
      assert.equal(silences.filter((silence) => silence > DEFAULTS.readTimeout * 1_000).length, 2, silences.join());
    }
    assert.equal(answer.content.length, 1);
    for (const { text, silences, error } of cut) {
      assert.equal(silences.length, BEFORE_TEXT);
      assert.deepEqual(text, []);
      assert.notEqual(error, undefined);
    }
  });
});
