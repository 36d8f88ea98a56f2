import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { connect, type Socket } from "node:net";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { queryObjects } from "node:v8";
import { brotliCompressSync, gzipSync } from "node:zlib";
import type { Script } from "../../src/simulator/simulator.ts";
import { ACK, chatHeader, END_HEADERS, END_STREAM, errorsOf, FRAME, framesOf, HELLO } from "../support/frames.ts";
import { type Service, startService } from "../support/service.ts";
import { assertUnharmed } from "../support/unharmed.ts";
import { allWays, bodyOf, goodMessage, outcomeOf, pathOf, type Way, ways } from "../support/ways.ts";
import { envelope, http2Frame, openHttp2, type Reply, sendHttp1, sendHttp2, sendRaw } from "../support/wire.ts";

/** What should end but does not fails. */
const PATIENCE = { timeout: 30_000 };

type Limits = Partial<Service["config"]["limits"]>;

function startWith(limits: Limits, options: Parameters<typeof startService>[0] = {}): Promise<Service> {
  return startService({ ...options, config: { limits } });
}

const headersOf = (way: Way) => ({ ":method": "POST", ":path": pathOf(way), ...way.headers });

/** Sends on a connection of its own. */
async function send(
  service: Service,
  way: Way,
  body: Uint8Array,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const session = openHttp2(service.url);
  try {
    return await sendHttp2(session, { ...headersOf(way), ...headers }, body);
  } finally {
    session.close();
  }
}

function assertTold(reply: Reply, code: string, reason: string, message: RegExp): void {
  const told = outcomeOf(reply);
  assert.ok(typeof told === "object", `the outcome is ${told}`);
  assert.deepEqual([told.code, told.errorInfo?.reason], [code, reason]);
  assert.match(told.message, message);
}

async function assertAnswered(service: Service): Promise<void> {
  assert.equal(outcomeOf(await send(service, ways.gRPC, bodyOf(ways.gRPC, goodMessage(ways.gRPC)))), undefined);
}

/** A connection whose bytes a test writes itself. */
async function openSocket({ server }: Service): Promise<Socket> {
  const socket = connect(server.port, "127.0.0.1").on("error", () => {});
  await once(socket, "connect");
  return socket;
}

const json = goodMessage(ways["Connect with JSON"]).toString();
const http1 = (more: string, body = json) =>
  `POST /parley.v1.ChatService/Chat HTTP/1.1\r\nhost: parley.test\r\ncontent-type: application/json\r\n${more}\r\n${body}`;

describe("requestBytes", PATIENCE, () => {
  const requestBytes = 4_096;
  for (const [name, way] of allWays) {
    test(`${name}: a message of just so many bytes is served, and one byte more is not`, async () => {
      await using service = await startWith({ requestBytes });
      // A longer text may have a longer length before it.
      let text = "x".repeat(requestBytes - goodMessage(way, "x".repeat(2_000)).length + 2_000);
      assert.equal(goodMessage(way, text).length, requestBytes);
      assert.equal(outcomeOf(await send(service, way, bodyOf(way, goodMessage(way, text)))), undefined);
      text += "x";
      const reply = await send(service, way, bodyOf(way, goodMessage(way, text)));
      assertTold(reply, "ResourceExhausted", "REQUEST_TOO_LARGE", /4096/);
    });
  }

  for (const name of ["gRPC-Web", "Connect", "Connect, streaming", "Server-Sent Events"] as const) {
    test(`${name} over HTTP/1.1: the connection goes on after a message that is too large`, async () => {
      await using service = await startWith({ requestBytes });
      const way = ways[name];
      const large = bodyOf(way, goodMessage(way, "x".repeat(1_000_000)));
      const header = Object.entries(way.headers).map(([header, value]) => `${header}: ${value}\r\n`);
      const bytes = await sendRaw(
        service.server.port,
        `POST ${pathOf(way)} HTTP/1.1\r\nhost: parley.test\r\n${header.join("")}content-length: ${large.length}\r\n\r\n`,
        large,
        http1(`content-length: ${json.length}\r\nconnection: close\r\n`),
      );
      const [, first, second] = bytes.toString().split("HTTP/1.1 ");
      assert.match(first ?? "", /grpc-status: 8|resource_exhausted/);
      assert.match(second ?? "", /^200 .*You said/s);
    });
  }
});

describe("headerBytes", PATIENCE, () => {
  const large = "x".repeat(5_000);

  test("over HTTP/1.1, a longer header is refused with 431", async () => {
    await using service = await startWith({ headerBytes: 4_096 });
    const request = http1(`x-large: ${large}\r\ncontent-length: ${json.length}\r\nconnection: close\r\n`);
    assert.equal((await sendHttp1(service.server.port, request)).status, 431);
    await assertAnswered(service);
  });

  test("over HTTP/2, the stream of a longer header ends, and no other", async () => {
    await using service = await startWith({ headerBytes: 4_096 });
    const session = openHttp2(service.url);
    const way = ways.gRPC;
    const body = bodyOf(way, goodMessage(way));
    // The limit holds from when the client has acknowledged it.
    assert.equal(outcomeOf(await sendHttp2(session, headersOf(way), body)), undefined);
    const [refused, served] = await Promise.all([
      sendHttp2(session, { ...headersOf(way), "x-large": large }, body),
      sendHttp2(session, headersOf(way), body),
    ]);
    assert.equal(refused.headers["grpc-status"], undefined);
    assert.equal(outcomeOf(served), undefined);
    session.close();
  });
});

describe("concurrentStreams", PATIENCE, () => {
  const script = { steps: [{ gate: "open" }, { gate: "open" }], afterwards: "converse" } satisfies Script;
  const open = (stream: number) =>
    Buffer.concat([
      http2Frame(FRAME.HEADERS, END_HEADERS, stream, chatHeader),
      http2Frame(FRAME.DATA, END_STREAM, stream, json),
    ]);

  test("a caller that knows the limit waits for a stream", async () => {
    await using service = await startWith({ concurrentStreams: 2 }, { script });
    const session = openHttp2(service.url);
    await once(session, "remoteSettings");
    const way = ways.gRPC;
    const calls = [1, 2, 3].map(() => sendHttp2(session, headersOf(way), bodyOf(way, goodMessage(way))));
    await service.simulator.nextRequest();
    await service.simulator.nextRequest();
    assert.equal(service.simulator.requests.length, 2);
    service.simulator.open("open");
    for (const reply of await Promise.all(calls)) assert.equal(outcomeOf(reply), undefined);
    session.close();
  });

  test("a stream beyond the limit is refused, and those before it are served", async () => {
    await using service = await startWith({ concurrentStreams: 2 }, { script });
    const socket = await openSocket(service);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    const received = async (fits: (bytes: Buffer) => boolean) => {
      while (!fits(Buffer.concat(chunks))) await once(socket, "data");
    };
    // One that does not know of the limit yet.
    socket.write(Buffer.concat([HELLO, open(1), open(3), open(5)]));
    await received((bytes) => errorsOf(bytes).reset.length > 0);
    assert.deepEqual(errorsOf(Buffer.concat(chunks)).reset, ["REFUSED_STREAM"]);
    service.simulator.open("open");
    const ended = (bytes: Buffer) =>
      framesOf(bytes).filter(({ flags, type }) => type <= 1 && (flags & END_STREAM) === 1);
    await received((bytes) => ended(bytes).length === 2);
    assert.deepEqual(
      ended(Buffer.concat(chunks))
        .map(({ stream }) => stream)
        .sort(),
      [1, 3],
    );
    socket.destroy();
  });

  test("a caller that knows the limit and passes over it loses its connection, and no other", async () => {
    await using service = await startWith({ concurrentStreams: 2 }, { script: { steps: [], afterwards: "converse" } });
    const socket = await openSocket(service);
    const closed = once(socket, "close");
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.write(HELLO);
    await once(socket, "data");
    const header = (stream: number) => http2Frame(FRAME.HEADERS, END_HEADERS, stream, chatHeader);
    socket.write(Buffer.concat([http2Frame(FRAME.SETTINGS, ACK, 0), header(1), header(3), header(5)]));
    await closed;
    assert.ok(errorsOf(Buffer.concat(chunks)).goAway.includes("PROTOCOL_ERROR"));
    await assertAnswered(service);
  });
});

test("connections: one beyond the limit is closed at once, until another has ended", PATIENCE, async () => {
  await using service = await startWith({ connections: 2 });
  const first = openHttp2(service.url);
  const second = openHttp2(service.url);
  const call = (session: typeof first) =>
    sendHttp2(session, headersOf(ways.gRPC), bodyOf(ways.gRPC, goodMessage(ways.gRPC)));
  for (const session of [first, second]) assert.equal(outcomeOf(await call(session)), undefined);
  assert.equal((await sendRaw(service.server.port, http1(`content-length: ${json.length}\r\n`))).length, 0);
  for (const session of [first, second]) assert.equal(outcomeOf(await call(session)), undefined);
  first.close();
  await once(first, "close");
  while (service.server.connections > 1) await new Promise(setImmediate);
  await assertAnswered(service);
  second.close();
});

describe("timeout: a longer deadline is cut to it", { ...PATIENCE, concurrency: true }, () => {
  for (const [name, way] of allWays) {
    test(name, async () => {
      await using service = await startWith({ timeout: 1_000 }, { script: { steps: [{ gate: "never" }] } });
      const isGrpc = (way.headers["content-type"] ?? "").startsWith("application/grpc");
      const longer = isGrpc ? { "grpc-timeout": "99999999H" } : { "connect-timeout-ms": "9999999999" };
      const reply = await send(service, way, bodyOf(way, goodMessage(way)), longer);
      assertTold(reply, "DeadlineExceeded", "DEADLINE_EXCEEDED", /deadline/);
      // On a busy machine the deadline may pass before Claude is asked.
      for (const { ended } of service.simulator.requests) assert.equal((await ended).how, "client-closed");
    });
  }
});

describe("headerTime: a connection is closed on which no header arrives", { ...PATIENCE, concurrency: true }, () => {
  const beginnings: Record<string, { bytes: string | Buffer; reply: RegExp }> = {
    "not a byte": { bytes: "", reply: /^$/ },
    "one byte, which either HTTP begins with": { bytes: "P", reply: /^$/ },
    "a part of a header of HTTP/1.1": { bytes: "POST / HTTP/1.1\r\nhost: a\r\nx-sl", reply: /^HTTP\/1\.1 408 / },
  };
  for (const [name, { bytes, reply }] of Object.entries(beginnings)) {
    test(name, async () => {
      await using service = await startWith({ headerTime: 1_000 });
      const closed = sendRaw(service.server.port, bytes);
      await assertAnswered(service);
      assert.match((await closed).toString(), reply);
    });
  }

  test("a header that comes byte by byte gets no more time", async () => {
    await using service = await startWith({ headerTime: 300 });
    const socket = await openSocket(service);
    socket.write("GET / HTTP/1.1\r\n");
    const drip = setInterval(() => socket.write("x"), 20);
    const [reply] = (await once(socket, "data")) as [Buffer];
    assert.match(reply.toString(), /^HTTP\/1\.1 408 /);
    clearInterval(drip);
    socket.destroy();
  });
});

describe("requestTime: a body that does not arrive in time", { ...PATIENCE, concurrency: true }, () => {
  test("over HTTP/1.1, 408", async () => {
    await using service = await startWith({ headerTime: 1_000, requestTime: 1_000 });
    const closed = sendRaw(service.server.port, http1(`content-length: ${json.length + 1}\r\n`));
    await assertAnswered(service);
    assert.match((await closed).toString(), /^HTTP\/1\.1 408 /);
    assert.equal(service.simulator.requests.length, 1);
  });

  for (const [name, way] of allWays) {
    test(`over HTTP/2, ${name}: DEADLINE_EXCEEDED, and the stream ends`, async () => {
      await using service = await startWith({ requestTime: 1_000 });
      const session = openHttp2(service.url);
      const body = bodyOf(way, goodMessage(way));
      const reply = await sendHttp2Slowly(session, headersOf(way), body.subarray(0, 8));
      assertTold(reply, "DeadlineExceeded", "DEADLINE_EXCEEDED", /did not arrive in time/);
      assert.equal((await service.nextCall()).code, "DEADLINE_EXCEEDED");
      // The connection goes on.
      assert.equal(outcomeOf(await sendHttp2(session, headersOf(way), body)), undefined);
      session.close();
    });
  }

  test("over HTTP/2, for an RPC that there is none of: the stream ends, too", async () => {
    await using service = await startWith({ requestTime: 1_000 });
    const session = openHttp2(service.url);
    const reply = await sendHttp2Slowly(session, { ":method": "POST", ":path": "/none" }, Buffer.from("x"));
    assert.equal(reply.status, 404);
    session.close();
  });
});

/** Sends a request whose body goes on for ever. */
async function sendHttp2Slowly(...[session, headers, body]: Parameters<typeof sendHttp2>): Promise<Reply> {
  const stream = session.request(headers, { endStream: false });
  const received: Record<string, string> = {};
  const chunks: Buffer[] = [];
  const receive = (header: object) => {
    for (const [name, value] of Object.entries(header)) received[name] = String(value);
  };
  stream.on("error", () => {});
  stream.on("response", receive);
  stream.on("trailers", receive);
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.write(body ?? "");
  await once(stream, "close");
  return { status: Number(received[":status"]), headers: received, body: Buffer.concat(chunks) };
}

describe("idleTime", PATIENCE, () => {
  test("over HTTP/2, an idle connection is told to go away, and closed", async () => {
    await using service = await startWith({ idleTime: 200 });
    const bytes = await sendRaw(service.server.port, HELLO);
    assert.ok(errorsOf(bytes).goAway.every((error) => error === "NO_ERROR"));
    assert.ok(errorsOf(bytes).goAway.length > 0);
  });

  test("over HTTP/1.1, a connection is closed on which no second request comes", async () => {
    await using service = await startWith({ idleTime: 200 });
    const bytes = await sendRaw(service.server.port, http1(`content-length: ${json.length}\r\n`));
    assert.match(bytes.toString(), /^HTTP\/1\.1 200 /);
  });

  test("a connection with a stream is not idle, however long the stream is silent", async () => {
    const script = { steps: [{ gateAfter: { events: 2, gate: "open" } }] };
    await using service = await startWith({ idleTime: 1_000 }, { script });
    const session = openHttp2(service.url);
    let toldToGo = false;
    session.once("goaway", () => {
      toldToGo = true;
    });
    const way = ways["gRPC, streaming"];
    const reply = sendHttp2(session, headersOf(way), bodyOf(way, goodMessage(way)));
    await service.simulator.nextRequest();
    // The time has passed for both when it has for the one that began later.
    await once(openHttp2(service.url), "goaway");
    assert.equal(toldToGo, false);
    service.simulator.open("open");
    assert.equal(outcomeOf(await reply), undefined);
    await once(session, "close");
  });

  test("over HTTP/2, a connection that has closed is not kept in memory for the rest of it", async () => {
    await using service = await startWith({ idleTime: 86_400_000 });
    const openAndClose = async (times: number) => {
      for (let connections = 0; connections < times; connections++) {
        const session = openHttp2(service.url);
        await once(session, "remoteSettings");
        session.close();
        await once(session, "close");
      }
      while (service.server.connections > 0) await turn();
    };
    const Timer = setTimeout(() => {}, 0).constructor;
    const timers = () => queryObjects(Timer as Parameters<typeof queryObjects>[0], { format: "count" });
    await openAndClose(20);
    const before = timers();
    await openAndClose(200);
    const after = timers();
    assert.ok(after < before + 100, `${before} timers, and then ${after}`);
  });
});

describe("connectionAge", PATIENCE, () => {
  test("over HTTP/2, an old connection is told to go, its calls end as they would have, and then it is closed", async () => {
    const script: Script = { steps: [{ gateAfter: { events: 2, gate: "open" } }], afterwards: "converse" };
    await using service = await startWith({ connectionAge: 1_000 }, { script });
    const session = openHttp2(service.url);
    const way = ways["gRPC, streaming"];
    const reply = sendHttp2(session, headersOf(way), bodyOf(way, goodMessage(way)));
    const [code] = await once(session, "goaway");
    assert.equal(code, constants.NGHTTP2_NO_ERROR);
    await assertAnswered(service);
    service.simulator.open("open");
    assert.equal(outcomeOf(await reply), undefined);
    await once(session, "close");
  });

  test("over HTTP/2, a caller that vanishes after that is found out, and so is its call to Claude", async () => {
    const script: Script = { steps: [{ gate: "never" }] };
    await using service = await startWith({ connectionAge: 500, keepAlive: 1_000 }, { script });
    const socket = await openSocket(service);
    let bytes: Buffer = Buffer.alloc(0);
    let answered = 0;
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      const frames = framesOf(bytes);
      // As long as it is there, it answers.
      const goAway = frames.findIndex(({ type }) => type === FRAME.GOAWAY);
      const pings = frames.filter(({ type }, index) => type === FRAME.PING && (goAway === -1 || index < goAway));
      for (const { payload } of pings.slice(answered)) socket.write(http2Frame(FRAME.PING, ACK, 0, payload));
      answered = pings.length;
    });
    socket.write(HELLO);
    socket.write(http2Frame(FRAME.HEADERS, END_HEADERS, 1, chatHeader));
    socket.write(http2Frame(FRAME.DATA, END_STREAM, 1, json));
    await once(socket, "close");
    assert.ok(errorsOf(bytes).goAway.length > 0, "the connection was old");
    assert.equal((await service.nextCall()).code, "CANCELLED");
    assert.equal((await (await service.simulator.nextRequest()).ended).how, "client-closed");
  });

  test("over HTTP/2, an old connection without calls is closed", async () => {
    await using service = await startWith({ connectionAge: 200 });
    const bytes = await sendRaw(service.server.port, HELLO);
    assert.deepEqual([...new Set(errorsOf(bytes).goAway)], ["NO_ERROR"]);
  });

  test("over HTTP/1.1, an old connection is closed with its next answer", async () => {
    await using service = await startWith({ connectionAge: 200 });
    const socket = await openSocket(service);
    const replies: string[] = [];
    for (let old = false; !old; old = /^connection: close/im.test(replies.at(-1) ?? "")) {
      socket.write(http1(`content-length: ${json.length}\r\n`));
      const [bytes] = await once(socket, "data");
      assert.match(String(bytes), /^HTTP\/1\.1 200 /);
      replies.push(String(bytes));
    }
    await once(socket, "close");
    assert.ok(replies.length > 1, "the first answer is that of a new connection");
  });

  test("0 lets connections be", async () => {
    await using service = await startWith({ connectionAge: 0 });
    const session = openHttp2(service.url);
    let toldToGo = false;
    session.once("goaway", () => {
      toldToGo = true;
    });
    const way = ways.gRPC;
    for (let calls = 0; calls < 3; calls++) {
      assert.equal(outcomeOf(await sendHttp2(session, headersOf(way), bodyOf(way, goodMessage(way)))), undefined);
    }
    assert.equal(toldToGo, false);
    session.close();
  });
});

describe("keepAlive", PATIENCE, () => {
  test("a caller that does not answer a PING is gone, and so is its call to Claude", async () => {
    await using service = await startWith({ keepAlive: 1_000 }, { script: { steps: [{ gate: "never" }] } });
    // This client answers nothing.
    const bytes = await sendRaw(
      service.server.port,
      HELLO,
      http2Frame(FRAME.HEADERS, END_HEADERS, 1, chatHeader),
      http2Frame(FRAME.DATA, END_STREAM, 1, json),
    );
    assert.ok(framesOf(bytes).some(({ type, flags }) => type === FRAME.PING && flags === 0));
    assert.equal((await service.nextCall()).code, "CANCELLED");
    assert.equal((await (await service.simulator.nextRequest()).ended).how, "client-closed");
  });

  test("one that does is left alone, however long it waits", async () => {
    await using service = await startWith({ keepAlive: 2_000 }, { script: { steps: [{ gate: "open" }] } });
    const session = openHttp2(service.url);
    const reply = sendHttp2(session, headersOf(ways.gRPC), bodyOf(ways.gRPC, goodMessage(ways.gRPC)));
    for (let pings = 0; pings < 2; pings++) await once(session, "ping");
    service.simulator.open("open");
    assert.equal(outcomeOf(await reply), undefined);
    session.close();
  });
});

describe("compressed requests are served", PATIENCE, () => {
  const compressions = { gzip: gzipSync, br: brotliCompressSync };
  for (const [name, way] of allWays as readonly (readonly [string, Way])[]) {
    const { encodingHeader } = way;
    if (encodingHeader === undefined) continue;
    for (const [encoding, compress] of Object.entries(compressions)) {
      test(`${name}, ${encoding}`, async () => {
        await using service = await startService();
        const data = compress(goodMessage(way, "compressed"));
        const body = way.enveloped ? envelope(data, { flags: 1 }) : data;
        assert.equal(outcomeOf(await send(service, way, body, { [encodingHeader]: encoding })), undefined);
        const { body: asked } = await service.simulator.nextRequest();
        assert.match(JSON.stringify(asked), /compressed/);
      });
    }
  }
});

test("after a caller that ran into every limit the service is unharmed", PATIENCE, async () => {
  await using service = await startWith({ headerTime: 1_000, requestTime: 1_000, requestBytes: 4_096 });
  const way = ways.gRPC;
  const session = openHttp2(service.url);
  await Promise.all([
    sendRaw(service.server.port, "P"),
    sendRaw(service.server.port, http1("content-length: 9999\r\n")),
    sendHttp2Slowly(session, headersOf(way), Buffer.of(0)),
    sendHttp2(session, headersOf(way), bodyOf(way, goodMessage(way, "x".repeat(100_000)))),
  ]);
  session.close();
  await assertUnharmed(service);
});
