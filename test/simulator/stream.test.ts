import assert from "node:assert/strict";
import { connect as openSocket, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import type { Message } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import {
  answer,
  ask,
  connect,
  HEADERS,
  type Json,
  post,
  request,
  type SseEvent,
  streamEvents,
  WEATHER_TOOL,
} from "./client.ts";

let simulator: Simulator;
before(async () => {
  simulator = await createSimulator({ pacing: "instant" });
});
after(() => simulator[Symbol.asyncDispose]());

const document = {
  type: "document",
  source: { type: "text", media_type: "text/plain", data: "Grass is green." },
  citations: { enabled: true },
};

/** Requests that lead to every kind of answer. */
const PROMPTS: Readonly<Record<string, Json>> = {
  text: ask("Hello"),
  "text beyond the basic plane": ask("𝄞𝄞𝄞 é 𝄞"),
  "a long text": ask("2000 words", { max_tokens: 10_000 }),
  "a text that is cut off": ask("2000 words", { max_tokens: 11 }),
  "a tool call": ask("call get_weather", { tools: [WEATHER_TOOL] }),
  "a call of a toolset's member": ask("use navigate", { tools: [{ type: "browser_toolset_20260801" }] }),
  thinking: ask("Hello", { thinking: { type: "adaptive", display: "summarized" } }),
  "thinking that is not shown": ask("Hello", { thinking: { type: "adaptive", display: "omitted" } }),
  citations: request({ messages: [{ role: "user", content: [document, { type: "text", text: "So?" }] }] }),
  "a web search": ask("web search", { tools: [{ type: "web_search_20250305", name: "web_search" }] }),
  "a refusal": ask("please refuse"),
  "a pause": ask("please pause"),
  "a stop sequence": ask("one two", { stop_sequences: ["two"] }),
};

/** Identifiers and signatures of hidden thinking differ from answer to answer. */
const masked = (value: unknown) =>
  JSON.parse(JSON.stringify(value).replaceAll(/(?:msg|toolu|srvtoolu)_01\w{22}/g, "id"));

describe("a stream", () => {
  for (const [name, body] of Object.entries(PROMPTS)) {
    test(`of ${name} adds up to what is answered without streaming`, async () => {
      const whole: Message = await answer(simulator, body);
      const stream = connect(simulator).messages.stream(body as never);
      const { parsed_output: _parsed, ...final } = await stream.finalMessage();
      assert.deepEqual(masked(final), masked(whole));
    });

    test(`of ${name} has Claude's order`, async () => {
      const events = await streamEvents(simulator, body);
      for (const { event, data } of events) assert.equal(event, data.type);
      const order = events.map(({ data }) => data.type);
      assert.deepEqual(order.slice(0, 2), ["message_start", "ping"]);
      assert.deepEqual(order.slice(-2), ["message_delta", "message_stop"]);
      assert.match(
        order.slice(2, -2).join(" "),
        /^(content_block_start (content_block_delta )*content_block_stop ?)*$/,
      );
      assertIndexes(events);
      assert.deepEqual(events[0]?.data.message.content, []);
      assert.equal(events[0]?.data.message.stop_reason, null);
    });
  }

  function assertIndexes(events: readonly SseEvent[]): void {
    let index = -1;
    for (const { data } of events) {
      if (data.type === "content_block_start") index++;
      if ("index" in data) assert.equal(data.index, index);
    }
  }

  const deltasOf = (events: readonly SseEvent[]) =>
    events.flatMap(({ data }) => (data.type === "content_block_delta" ? [data.delta] : []));

  test("gives text in small pieces", async () => {
    const deltas = deltasOf(await streamEvents(simulator, ask("Hello")));
    assert.ok(deltas.length > 10);
    for (const delta of deltas) assert.ok(delta.type === "text_delta" && delta.text.length <= 5);
  });

  test("cuts the input of a call anywhere, after an empty piece", async () => {
    const deltas = deltasOf(await streamEvents(simulator, ask("call get_weather", { tools: [WEATHER_TOOL] })));
    const pieces = deltas.filter((delta) => delta.type === "input_json_delta").map((delta) => delta.partial_json);
    assert.equal(pieces[0], "");
    assert.deepEqual(pieces.slice(1), ['{"ci', 'ty":', '"cit', 'y"}']);
  });

  test("gives the input of a toolset's member in one piece", async () => {
    const deltas = deltasOf(await streamEvents(simulator, PROMPTS["a call of a toolset's member"] ?? {}));
    const pieces = deltas.filter((delta) => delta.type === "input_json_delta").map((delta) => delta.partial_json);
    assert.deepEqual(pieces, ["", '{"url":"https://example.com"}']);
  });

  test("signs thinking right before its end, and gives no text of thinking that is not shown", async () => {
    const shown = deltasOf(await streamEvents(simulator, PROMPTS.thinking ?? {})).map((delta) => delta.type);
    assert.equal(shown[0], "thinking_delta");
    assert.equal(shown.lastIndexOf("thinking_delta") + 1, shown.indexOf("signature_delta"));
    const hidden = deltasOf(await streamEvents(simulator, PROMPTS["thinking that is not shown"] ?? {}));
    assert.equal(hidden[0].type, "signature_delta");
  });

  test("cites after the text that is cited", async () => {
    const types = deltasOf(await streamEvents(simulator, PROMPTS.citations ?? {})).map((delta) => delta.type);
    assert.equal(types.filter((type) => type === "citations_delta").length, 1);
    assert.equal(types[types.indexOf("citations_delta") - 1], "text_delta");
  });

  test("cut off in the input of a call ends with incomplete JSON", async () => {
    const body = ask("call get_weather", { tools: [WEATHER_TOOL], max_tokens: 7 });
    const events = await streamEvents(simulator, body);
    const pieces = deltasOf(events).filter((delta) => delta.type === "input_json_delta");
    assert.throws(() => JSON.parse(pieces.map((delta) => delta.partial_json).join("")), SyntaxError);
    assert.equal(events.at(-2)?.data.delta.stop_reason, "max_tokens");
  });

  test("has the headers of one", async () => {
    const response = await post(simulator, request({ stream: true }));
    assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
    assert.match(response.headers.get("request-id") ?? "", /^req_/);
    assert.ok(response.headers.get("anthropic-organization-id"));
    assert.ok(response.headers.get("anthropic-ratelimit-requests-limit"));
    await response.text();
  });
});

/** Reads a stream until the text so far satisfies the condition. */
async function readUntil(response: Response, satisfied: (text: string) => boolean): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  const reader = response.body?.getReader();
  while (reader && !satisfied(text)) {
    const { value, done } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  reader?.releaseLock();
  return text;
}

const count = (text: string, part: string) => text.split(part).length - 1;

describe("in time", () => {
  test("the first token takes its time, and so does each one after it", async () => {
    await using paced = await createSimulator({ pacing: { firstTokenMs: 40, tokensPerSecond: 500 } });
    const started = performance.now();
    const events = await streamEvents(paced, ask("30 words"));
    const tokens = events.filter((event) => event.event === "content_block_delta").length;
    assert.ok(performance.now() - started >= 40 + (tokens - 2) * 2);
  });

  test("an answer that is not streamed takes as long as its stream", async () => {
    await using paced = await createSimulator({ pacing: { firstTokenMs: 40, tokensPerSecond: 500 } });
    const started = performance.now();
    const message: Message = await answer(paced, ask("30 words"));
    assert.ok(performance.now() - started >= 40 + message.usage.output_tokens * 2 - 1);
  });

  test("message_start does not wait for the first token", async () => {
    await using paced = await createSimulator({ pacing: { firstTokenMs: 3_600_000 } });
    const response = await post(paced, request({ stream: true }));
    const text = await readUntil(response, (sofar) => sofar.includes("event: ping"));
    assert.ok(text.startsWith("event: message_start"));
    assert.ok(!text.includes("content_block_start"));
  });

  test("pings flow while nothing else does", async () => {
    const script = { steps: [{ respond: { content: [{ text: "Hi" }] }, gateAfter: { events: 2, gate: "on" } }] };
    await using patient = await createSimulator({ pacing: "instant", pingMs: 2, script });
    const response = await post(patient, request({ stream: true }));
    await readUntil(response, (text) => count(text, "event: ping") >= 4);
    patient.open("on");
    await readUntil(response, (text) => text.includes("event: message_stop"));
  });
});

describe("a client that goes away", () => {
  const forever = { firstTokenMs: 3_600_000, tokensPerSecond: 1 };

  for (const [phase, wait] of [
    ["before the headers", undefined],
    ["in mid-stream", "message_start"],
  ] as const) {
    test(`${phase} is noticed at once, and nothing is left of its request`, async () => {
      const script = { steps: [{ gate: "never" }] };
      await using slow = await createSimulator({ pacing: forever, ...(wait ? {} : { script }) });
      const leaving = new AbortController();
      const response = fetch(`${slow.url}/v1/messages`, {
        method: "POST",
        headers: HEADERS,
        body: JSON.stringify(request({ stream: true })),
        signal: leaving.signal,
      });
      const record = await slow.nextRequest();
      if (wait) await readUntil(await response, (text) => text.includes(wait));
      assert.equal(slow.activeRequests, 1);
      leaving.abort();
      await response.catch(() => {});
      const left = performance.now();
      const { how, at } = await record.ended;
      assert.equal(how, "client-closed");
      assert.ok(at - left < 1000);
      assert.equal(slow.activeRequests, 0);
    });
  }

  test("does not hold up others, nor does one that reads nothing", async () => {
    const script = { steps: [{ respond: { content: [{ text: "x".repeat(2_000_000) }] }, times: 2 }] };
    await using busy = await createSimulator({ pacing: "instant", script });
    const idle = sendAndNeverRead(busy);
    const record = await busy.nextRequest();
    const response = await post(busy, request({ stream: true }));
    const total = count(await response.text(), "event: ");
    const idleEnd = record.ended;
    idle.destroy();
    const { how, eventsSent } = await idleEnd;
    assert.equal(how, "client-closed");
    assert.ok(eventsSent < total / 2, `${eventsSent} of ${total} events were sent to a client that reads nothing`);
  });

  function sendAndNeverRead({ url }: Simulator): Socket {
    const body = JSON.stringify(request({ stream: true }));
    const headers = Object.entries({ ...HEADERS, host: "x", "content-length": body.length });
    const head = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const socket = openSocket({ port: Number(new URL(url).port), host: "127.0.0.1" });
    socket.pause();
    socket.write(`POST /v1/messages HTTP/1.1\r\n${head}\r\n${body}`);
    return socket;
  }
});

test("hundreds of streams at once are all complete", async () => {
  const bodies = Array.from({ length: 300 }, (_, index) => ask(`number ${index}: 50 words`));
  const streams = await Promise.all(bodies.map((body) => streamEvents(simulator, body)));
  for (const events of streams) assert.equal(events.at(-1)?.event, "message_stop");
});

test("closing the simulator ends what it was answering", async () => {
  const slow = await createSimulator({ pacing: { firstTokenMs: 3_600_000 } });
  const response = await post(slow, request({ stream: true }));
  const record = await slow.nextRequest();
  const waiting = slow.nextRequest();
  await slow[Symbol.asyncDispose]();
  await assert.rejects(response.text());
  await assert.rejects(waiting, /closed/);
  await assert.rejects(slow.nextRequest(), /closed/);
  assert.equal((await record.ended).how, "fault");
  assert.equal(slow.openSockets, 0);
});
