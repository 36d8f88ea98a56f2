import assert from "node:assert/strict";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { describe, test } from "node:test";
import { createSimulator, type RequestEnd, type Script, type Simulator } from "../../src/simulator/simulator.ts";
import { HEADERS, parseEvents, request } from "./client.ts";

type Faults = NonNullable<Script["steps"][number]["faults"]>;

/** A body as it arrived. */
interface Received {
  readonly status: number;
  readonly chunks: readonly Buffer[];
  readonly text: string;
  /** Whether the response came to a proper end. */
  readonly complete: boolean;
}

/** Sends a request and takes what comes, whatever becomes of it. Rejects when not even headers come. */
function receive(
  simulator: Simulator,
  body: unknown,
  onData?: (sofar: string, response: IncomingMessage) => void,
): Promise<Received> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(`${simulator.url}/v1/messages`, { method: "POST", headers: HEADERS, agent: false });
    outgoing.once("error", reject);
    outgoing.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        onData?.(Buffer.concat(chunks).toString(), response);
      });
      response.on("error", () => {});
      response.once("close", () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode ?? 0, chunks, text, complete: response.complete });
      });
    });
    outgoing.end(JSON.stringify(body));
  });
}

const content = [{ text: "Grüße, Welt 𝄞" }];
const stream = request({ stream: true });

async function withFaults(
  faults: Faults,
  body: unknown = stream,
): Promise<Received & { readonly end: RequestEnd; readonly events: string[] }> {
  await using simulator = await createSimulator({
    pacing: "instant",
    script: { steps: [{ respond: { content }, faults }] },
  });
  const received = await receive(simulator, body);
  const record = await simulator.nextRequest();
  const events = received.text
    .split(/\r\n|\n|\r/)
    .flatMap((line) => (line.startsWith("event: ") ? [line.slice(7)] : []));
  return { ...received, events, end: await record.ended };
}

describe("a stream can", () => {
  test("be whole", async () => {
    const { complete, end, events } = await withFaults({});
    assert.equal(complete, true);
    assert.equal(end.how, "completed");
    assert.equal(end.eventsSent, events.length);
  });

  test("never begin", async () => {
    const script = { steps: [{ faults: { closeBeforeHeaders: true } }] } as const;
    await using simulator = await createSimulator({ pacing: "instant", script: { steps: [...script.steps] } });
    await assert.rejects(receive(simulator, stream), { code: "ECONNRESET" });
    assert.equal((await (await simulator.nextRequest()).ended).how, "fault");
  });

  test("be cut", async () => {
    const { complete, end, events } = await withFaults({ cutAfter: 4 });
    assert.equal(complete, false);
    assert.deepEqual(events, ["message_start", "ping", "content_block_start", "content_block_delta"]);
    assert.deepEqual([end.how, end.eventsSent], ["fault", 4]);
  });

  test("be cut before its first event", async () => {
    const { status, text, complete } = await withFaults({ cutAfter: 0 });
    assert.deepEqual([status, text, complete], [200, "", false]);
  });

  test("be cut after its last event", async () => {
    const { complete, events } = await withFaults({ cutAfter: 1_000_000 });
    assert.equal(complete, false);
    assert.equal(events.at(-1), "message_stop");
  });

  test("end without message_stop", async () => {
    const { complete, end, events } = await withFaults({ truncateAfter: 5 });
    assert.equal(complete, true);
    assert.equal(events.length, 5);
    assert.equal(end.how, "fault");
  });

  test("end with an error", async () => {
    const error = { type: "overloaded_error", message: "Overloaded", error_code: "busy" };
    const { text, complete, end } = await withFaults({ errorAfter: { events: 3, error } });
    const events = parseEvents(text);
    assert.equal(events.length, 4);
    assert.equal(events[3]?.event, "error");
    assert.deepEqual(events[3]?.data.error, {
      type: "overloaded_error",
      message: "Overloaded",
      details: { error_code: "busy" },
    });
    assert.match(events[3]?.data.request_id, /^req_/);
    assert.deepEqual([complete, end.how], [true, "fault"]);
  });

  test("end in garbage", async () => {
    const { chunks, complete, end } = await withFaults({ garbageAfter: 2 });
    const bytes = Buffer.concat(chunks);
    assert.throws(() => new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    assert.throws(() => parseEvents(bytes.toString()), SyntaxError);
    assert.deepEqual([complete, end.how], [true, "fault"]);
  });

  test("fall silent until the client leaves", async () => {
    const script: Script = { steps: [{ respond: { content }, faults: { stallAfter: 3 }, timing: { pingMs: 1 } }] };
    await using simulator = await createSimulator({ pacing: "instant", script });
    const received = receive(simulator, stream, (sofar, response) => {
      if (sofar.includes("content_block_start")) setImmediate(() => response.destroy());
    });
    const record = await simulator.nextRequest();
    assert.equal(simulator.activeRequests, 1);
    assert.equal(parseEvents((await received).text).length, 3);
    const { how, eventsSent } = await record.ended;
    assert.deepEqual([how, eventsSent], ["client-closed", 3]);
  });

  test("wait in the middle until a gate opens", async () => {
    const script: Script = { steps: [{ respond: { content }, gateAfter: { events: 3, gate: "go" } }] };
    await using simulator = await createSimulator({ pacing: "instant", script });
    let atGate: string | undefined;
    const received = await receive(simulator, stream, (sofar) => {
      if (atGate !== undefined || !sofar.includes("content_block_start")) return;
      atGate = sofar;
      simulator.open("go");
    });
    assert.equal(parseEvents(atGate ?? "").length, 3);
    assert.equal(parseEvents(received.text).at(-1)?.event, "message_stop");
  });

  test("be written in pieces of a size, also through a character", async () => {
    const whole = await withFaults({});
    const { chunks, text, end } = await withFaults({ splitBytes: 3 });
    assert.ok(chunks.every((chunk) => chunk.length <= 3));
    assert.ok(chunks.some((chunk) => chunk.toString().includes("\ufffd")));
    assert.equal(parseEvents(text).length, parseEvents(whole.text).length);
    assert.equal(end.how, "completed");
  });

  test("be written in pieces while pings flow, without mixing the two", async () => {
    const script: Script = {
      steps: [
        {
          respond: { content },
          timing: { pingMs: 1 },
          faults: { splitBytes: 1 },
          gateAfter: { events: 3, gate: "go" },
        },
      ],
    };
    await using simulator = await createSimulator({ pacing: "instant", script });
    const received = await receive(simulator, stream, (sofar) => {
      if (sofar.endsWith("event: p") && sofar.split("event: ping").length > 3) simulator.open("go");
    });
    const events = parseEvents(received.text).filter(({ event }) => event !== "ping");
    assert.deepEqual([events[1]?.event, events.at(-1)?.event], ["content_block_start", "message_stop"]);
  });

  test("be cut into writes at given places", async () => {
    const { chunks } = await withFaults({ splitAt: [1, 7, 100] });
    assert.deepEqual(
      chunks.slice(0, 3).map((chunk) => chunk.length),
      [1, 6, 93],
    );
  });

  for (const [lineEnding, separator] of [
    ["crlf", "\r\n"],
    ["cr", "\r"],
    ["lf", "\n"],
  ] as const) {
    test(`end its lines with ${lineEnding}, cut in two`, async () => {
      const { chunks, text, events } = await withFaults({ lineEnding, splitBytes: 1 });
      assert.ok(text.endsWith(separator + separator));
      assert.equal(text.replaceAll(separator, "").search(/[\r\n]/), -1);
      assert.equal(events.at(-1), "message_stop");
      assert.ok(chunks.every((chunk) => chunk.length === 1));
    });
  }
});

describe("an answer that is no stream can", () => {
  const rows: [name: string, faults: Faults, complete: boolean, text: RegExp][] = [
    ["be cut", { cutAfter: 0 }, false, /^$/],
    ["be empty", { truncateAfter: 0 }, true, /^$/],
    ["be garbage", { garbageAfter: 0 }, true, /^\ufffd/],
  ];
  for (const [name, faults, complete, text] of rows) {
    test(name, async () => {
      const received = await withFaults(faults, request());
      assert.equal(received.complete, complete);
      assert.match(received.text, text);
      assert.equal(received.end.how, "fault");
    });
  }

  test("arrive in pieces", async () => {
    const { chunks, text } = await withFaults({ splitBytes: 2 }, request());
    assert.ok(chunks.every((chunk) => chunk.length <= 2));
    assert.equal(JSON.parse(text).content[0].text, content[0]?.text);
  });
});
