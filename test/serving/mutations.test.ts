import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { Duplex } from "node:stream";
import { after, before, describe, test } from "node:test";
import { create, fromJson, type JsonValue, toBinary, toJsonString } from "@bufbuild/protobuf";
import { ChatRequestSchema, StreamChatRequestSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { mutate } from "../support/mutations.ts";
import { type Service, startService } from "../support/service.ts";
import { assertNoInnerText, assertNothingLeft, assertUnharmed } from "../support/unharmed.ts";
import { allWays, bodyOf, outcomeOf, pathOf, type Way, ways } from "../support/ways.ts";
import { HTTP2_PREFACE, openHttp2, type Reply, sendHttp2, sendRaw } from "../support/wire.ts";

/** Mutation `index` of a request is always the same: what a failure names can be tried again alone. */
const SEED = 20_260_701;
const BODIES_A_WAY = 650;
const HTTP1_REQUESTS = 2_000;
const HTTP2_CONNECTIONS = 1_500;
/** How long a mutated request may take, however busy the machine is. The limits below end it long before. */
const PATIENCE_MS = 30_000;

let service: Service;
/** Ends what does not go on soon: connections whose bytes are mutated may wait for more for ever. */
let hasty: Service;
const rejections: unknown[] = [];
const onRejection = (reason: unknown) => rejections.push(reason);
before(async () => {
  process.on("unhandledRejection", onRejection);
  service = await startService();
  hasty = await startService({
    config: { limits: { headerTime: 500, requestTime: 1_000, idleTime: 1_000, keepAlive: 1_000 } },
  });
});
after(async () => {
  process.off("unhandledRejection", onRejection);
  await service[Symbol.asyncDispose]();
  await hasty[Symbol.asyncDispose]();
});

/** A request that uses much of what there is. */
const chat: JsonValue = {
  model: "claude-sonnet-5-5",
  maxTokens: 2048,
  system: { content: [{ text: { text: "Be brief." }, cacheControl: { ttl: "CACHE_TTL_5M" } }] },
  messages: [
    { role: "ROLE_USER", content: [{ text: { text: "What is the weather in Paris?" } }] },
    {
      role: "ROLE_ASSISTANT",
      content: [
        { text: { text: "I look." } },
        { toolUse: { id: "toolu_1", name: "weather", inputJson: '{"city":"Paris","days":3}' } },
      ],
    },
    {
      role: "ROLE_USER",
      content: [
        { toolResult: { toolUseId: "toolu_1", content: [{ text: { text: "21 degrees" } }] } },
        { image: { source: { data: "iVBORw0KGgo=", mediaType: "image/png" } } },
        { opaque: { type: "text", json: '{"type":"text","text":"And tomorrow?"}' } },
      ],
    },
  ],
  stopSequences: ["END"],
  tools: [{ custom: { name: "weather", description: "Tells it.", inputSchemaJson: '{"type":"object"}' } }],
  toolChoice: { auto: { disableParallelToolUse: true } },
  outputConfig: { effort: "EFFORT_LOW" },
  labels: { team: "search", stage: "test" },
  endUserId: "user-77",
};

function messageOf({ rpc, json }: Way): Buffer {
  const unary = fromJson(ChatRequestSchema, chat);
  const [schema, message] =
    rpc === "Chat"
      ? [ChatRequestSchema, unary]
      : [StreamChatRequestSchema, create(StreamChatRequestSchema, { chat: unary })];
  return Buffer.from(json ? toJsonString(schema, message as never) : toBinary(schema, message as never));
}

/** Sends requests, so many at a time. Each must end. */
async function sendAll(
  name: string,
  count: number,
  atATime: number,
  send: (seed: number, about: string) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) {
      const index = next++;
      const about = `mutation ${index} of ${name}, seed ${SEED}`;
      await inTime(send(SEED + index, about), about);
    }
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}

async function inTime(ended: Promise<void>, about: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${about} hangs`)), PATIENCE_MS);
  });
  try {
    await Promise.race([ended, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Codes that no request may end with, whatever is wrong with it. */
const FAULTS = new Set(["Internal", "Unknown", "Unavailable", "DataLoss"]);

/** A reply is one of its protocol, and no fault of the service's. */
function assertProper(reply: Reply, about: string): void {
  assertNoInnerText(reply, about);
  assert.notEqual(reply.status, undefined, `${about}: no response`);
  const told = outcomeOf(reply);
  if (typeof told === "number") assert.ok(told < 500 || told === 505, `${about}: HTTP status ${told}`);
  else if (told !== undefined) assert.ok(!FAULTS.has(told.code), `${about}: ${told.code}, ${told.message}`);
}

describe("a mutated body in proper HTTP gets a proper reply", () => {
  for (const [name, way] of allWays) {
    test(name, async () => {
      const body = bodyOf(way, messageOf(way));
      const sessions = Array.from({ length: 4 }, () => openHttp2(service.url));
      await sendAll(name, BODIES_A_WAY, 64, async (seed, about) => {
        const session = sessions[seed % sessions.length];
        assert.ok(session);
        const headers = { ":method": "POST", ":path": pathOf(way), ...way.headers, "x-request-id": `mutation-${seed}` };
        assertProper(await sendHttp2(session, headers, mutate(body, seed)), about);
      });
      for (const session of sessions) session.close();
    });
  }
});

test("requests over HTTP/1.1 whose bytes are mutated end, one way or another", async () => {
  const requests = http1Requests();
  let answered = 0;
  await sendAll("HTTP/1.1", HTTP1_REQUESTS, 200, async (seed, about) => {
    const request = requests[seed % requests.length];
    assert.ok(request);
    const reply = (await sendRaw(hasty.server.port, mutate(request, seed))).toString("latin1");
    assertNoInnerText({ headers: {}, body: Buffer.from(reply, "latin1") }, about);
    assert.doesNotMatch(reply, /^HTTP\/1\.1 50[0-4]/m, about);
    assert.doesNotMatch(
      reply,
      /grpc-status: (2|13|14|15)\r\n|"code":"(internal|unknown|unavailable|data_loss)"/,
      about,
    );
    if (reply.startsWith("HTTP/1.1 200")) answered++;
  });
  assert.ok(answered > 100, `only ${answered} came through to an RPC`);
});

/** Whole requests: of every protocol that HTTP/1.1 carries, one in chunks, and one without a body. */
function http1Requests(): Buffer[] {
  const head = (way: Way, body: Buffer, more: string) =>
    `POST ${pathOf(way)} HTTP/1.1\r\nhost: parley.test\r\nconnection: close\r\n${Object.entries(way.headers)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join("")}x-request-id: mutated\r\n${more || `content-length: ${body.length}\r\n`}\r\n`;
  const whole = allWays
    .filter(([name]) => !name.startsWith("gRPC") || name.startsWith("gRPC-Web"))
    .map(([, way]) => {
      const body = bodyOf(way, messageOf(way));
      return Buffer.concat([Buffer.from(head(way, body, "")), body]);
    });
  const way = ways["Connect with JSON"];
  const body = messageOf(way);
  const chunked = Buffer.concat([
    Buffer.from(head(way, body, "transfer-encoding: chunked\r\nconnect-timeout-ms: 60000\r\n")),
    ...[body.subarray(0, 100), body.subarray(100)].flatMap((chunk) => [
      Buffer.from(`${chunk.length.toString(16)}\r\n`),
      chunk,
      Buffer.from("\r\n"),
    ]),
    Buffer.from("0\r\n\r\n"),
  ]);
  const query = `encoding=json&message=${encodeURIComponent('{"pageSize":3}')}&connect=v1`;
  const get = `GET /parley.v1.ModelService/ListModels?${query} HTTP/1.1\r\nhost: parley.test\r\nconnection: close\r\n\r\n`;
  return [...whole, chunked, Buffer.from(get)];
}

test("connections over HTTP/2 whose frames are mutated end, one way or another", async () => {
  let answered = 0;
  await sendAll("HTTP/2", HTTP2_CONNECTIONS, 64, async (seed, about) => {
    const connection = new MutatedConnection(hasty.server.port, 2, seed);
    const session = connectHttp2("http://parley.test", { createConnection: () => connection });
    session.on("error", () => {});
    const calls = [ways.gRPC, ways["Connect with JSON"]].map(async (way) => {
      const headers = { ":method": "POST", ":path": pathOf(way), ...way.headers, "grpc-timeout": "60S" };
      const reply = await sendHttp2(session, headers, bodyOf(way, messageOf(way)));
      assertNoInnerText(reply, about);
      if (reply.status === undefined) return;
      answered++;
      // A stream that was cut short has no end to read.
      const isWhole = reply.headers["grpc-status"] ?? reply.headers["content-length"] === String(reply.body.length);
      if (isWhole) assertProper(reply, about);
    });
    await Promise.all(calls);
    session.close();
    await connection.ended;
  });
  assert.ok(answered > HTTP2_CONNECTIONS / 4, `only ${answered} were answered`);
});

/** A connection of a client, whose first bytes, up to the end of so many requests, arrive mutated. */
class MutatedConnection extends Duplex {
  readonly ended: Promise<void>;
  readonly #socket;
  readonly #requests: number;
  readonly #seed: number;
  #held: Buffer | undefined = Buffer.alloc(0);

  constructor(target: number, requests: number, seed: number) {
    super();
    this.#requests = requests;
    this.#seed = seed;
    this.#socket = connect(target, "127.0.0.1");
    this.#socket.on("error", () => {});
    this.#socket.on("data", (chunk) => this.push(chunk));
    this.#socket.on("end", () => this.push(null));
    this.ended = new Promise((resolve) => this.#socket.on("close", () => resolve()));
    this.#socket.on("close", () => this.destroy());
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    if (this.#held === undefined) {
      this.#socket.write(chunk);
    } else {
      this.#held = Buffer.concat([this.#held, chunk]);
      if (endedStreams(this.#held) >= this.#requests) {
        this.#socket.write(mutate(this.#held, this.#seed));
        this.#held = undefined;
      }
    }
    done();
  }

  override _final(done: () => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}

/** How many frames with the flag END_STREAM the bytes of a client hold (RFC 9113, 4.1). */
function endedStreams(bytes: Buffer): number {
  let ended = 0;
  let offset = HTTP2_PREFACE.length;
  while (offset + 9 <= bytes.length) {
    const [type = 0, flags = 0] = bytes.subarray(offset + 3, offset + 5);
    offset += 9 + bytes.readUIntBE(offset, 3);
    if (offset <= bytes.length && type <= 1 && (flags & 1) === 1) ended++;
  }
  return ended;
}

test("after all of them the service is unharmed", { timeout: 30_000 }, async () => {
  await assertUnharmed(service);
  await hasty.chat.chat({ messages: [{ role: Role.USER, text: "hello" }] });
  await assertNothingLeft(hasty);
  assert.deepEqual(rejections, []);
});
