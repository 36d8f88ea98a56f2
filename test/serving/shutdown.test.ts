import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/grpc/health/v1/health_pb.js";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { type ServiceProcess, startServiceProcess } from "../support/process.ts";
import { transports } from "../support/service.ts";
import { createTlsFolder, trust } from "../support/tls.ts";
import { HTTP2_PREFACE, http2Frame, openHttp2 } from "../support/wire.ts";

const hello = { messages: [{ role: Role.USER, text: "hello" }] };
/** Types of frames (RFC 9113, 6.5 and 6.8). */
const SETTINGS = 4;
const GOAWAY = 7;
const answer = { content: [{ text: "Hello, you there, and everyone else" }] };

/** A hook does not inherit the time limit of its suite. */
const HOOK = { timeout: 60_000 };

let simulator: Simulator;
before(async () => {
  simulator = await createSimulator({ pacing: "instant" });
});
after(() => simulator[Symbol.asyncDispose]());

/** A service that closes no connection by itself, and drains for as long as it takes. */
function start(lameDuck: "0s" | "10m", more: object = {}): Promise<ServiceProcess> {
  const limits = { headerTime: "5m", requestTime: "5m", idleTime: "24h" };
  const server = { lameDuck, drain: "1h", ...more };
  return startServiceProcess({ ANTHROPIC_BASE_URL: simulator.url }, { server, limits });
}

const url = ({ port }: ServiceProcess, secure: boolean) => `http${secure ? "s" : ""}://127.0.0.1:${port}`;

const chatClient = ({ url }: ServiceProcess) => createClient(ChatService, createGrpcTransport({ baseUrl: url }));
const healthClient = ({ url }: ServiceProcess) => createClient(Health, createGrpcTransport({ baseUrl: url }));

/** Sends a signal, and resolves when the service has taken it. */
async function signal(service: ServiceProcess, name: NodeJS.Signals): Promise<void> {
  service.child.kill(name);
  await service.line(({ msg }) => String(msg).startsWith("shutting down"));
}

/** Ends a service that is no lame duck, and resolves when a connection has been told to go, with the code of it. */
async function endLameDuck(service: ServiceProcess): Promise<number> {
  const session = openHttp2(service.url);
  await once(session, "remoteSettings");
  const told = once(session, "goaway");
  service.child.kill("SIGTERM");
  const [code] = await told;
  return code;
}

for (const name of ["SIGTERM", "SIGINT"] as const) {
  describe(`after ${name}, as long as it is a lame duck, the service`, { timeout: 120_000 }, () => {
    let service: ServiceProcess;
    before(async () => {
      service = await start("10m");
      await signal(service, name);
    }, HOOK);
    after(() => service[Symbol.asyncDispose]());

    test("says that it is not ready, and that it lives", async () => {
      assert.equal((await fetch(`${service.adminUrl}/readyz`)).status, 503);
      assert.equal((await fetch(`${service.adminUrl}/livez`)).status, 200);
      assert.equal((await fetch(`${service.adminUrl}/metrics`)).status, 200);
    });

    test("says NOT_SERVING, also to those that begin to watch", async () => {
      assert.equal((await healthClient(service).check({})).status, Status.NOT_SERVING);
      assert.equal((await healthClient(service).check({ service: ChatService.typeName })).status, Status.NOT_SERVING);
      assert.equal((await healthClient(service).check({ service: "liveness" })).status, Status.SERVING);
      for await (const { status } of healthClient(service).watch({})) {
        assert.equal(status, Status.NOT_SERVING);
        break;
      }
    });

    for (const protocol of Object.keys(transports("http://localhost"))) {
      test(`takes new connections and calls, by ${protocol}`, async () => {
        const client = createClient(ChatService, transports(service.url)[protocol] as never);
        assert.equal((await client.chat(hello)).content.length, 1);
        let last: string | undefined;
        for await (const { event } of client.streamChat({ chat: hello })) last = event.case;
        assert.equal(last, "messageStop");
      });
    }

    test("lets connections of HTTP/1.1 go when their calls are answered, and not before", async () => {
      await using another = await start("10m");
      const [asking, streaming] = [connect(another.port, "127.0.0.1"), connect(another.port, "127.0.0.1")];
      const ask = async () => {
        asking.write("GET /made.up HTTP/1.1\r\nhost: localhost\r\n\r\n");
        return String((await once(asking, "data"))[0]);
      };
      assert.doesNotMatch(await ask(), /connection: close/i);
      simulator.run({
        steps: [{ respond: answer, gateAfter: { events: 5, gate: "lame duck" } }],
        afterwards: "converse",
      });
      const body = JSON.stringify({ chat: { messages: [{ role: "ROLE_USER", text: "hello" }] } });
      const type = "host: localhost\r\naccept: text/event-stream\r\ncontent-type: application/json";
      const head = `POST /parley.v1.ChatService/StreamChat HTTP/1.1\r\n${type}\r\ncontent-length: ${body.length}`;
      let events = "";
      streaming.on("data", (chunk: Buffer) => {
        events += chunk;
      });
      streaming.write(`${head}\r\n\r\n${body}`);
      await once(streaming, "data");
      await signal(another, name);

      assert.match(await ask(), /^HTTP\/1\.1 404 [\s\S]*\r\nconnection: close\r\n/i);
      await once(asking, "close");
      simulator.open("lame duck");
      await once(streaming, "close");
      assert.match(events, /"messageStop"/);
    });

    for (const second of ["SIGTERM", "SIGINT"] as const) {
      test(`exits at once when ${second} follows`, async () => {
        await using another = await start("10m");
        await signal(another, name);
        another.child.kill(second);
        assert.equal(await another.exit, 1);
      });
    }
  });
}

describe("when it is no lame duck any more, the service", { timeout: 120_000 }, () => {
  test("takes no new connections, tells those that are open to go, lets streams end, and exits with 0", async () => {
    simulator.run({ steps: [{ respond: answer, gateAfter: { events: 5, gate: "shutdown" } }] });
    await using service = await start("0s");
    const stream = chatClient(service).streamChat({ chat: hello })[Symbol.asyncIterator]();
    await stream.next();
    assert.equal(await endLameDuck(service), constants.NGHTTP2_NO_ERROR);
    await assert.rejects(once(connect(service.port, "127.0.0.1"), "connect"), { code: "ECONNREFUSED" });
    assert.equal((await fetch(`${service.adminUrl}/readyz`)).status, 503);
    assert.equal((await fetch(`${service.adminUrl}/livez`)).status, 200);

    simulator.open("shutdown");
    let last: string | undefined;
    for (let next = await stream.next(); !next.done; next = await stream.next()) last = next.value.event.case;
    assert.equal(last, "messageStop");
    assert.equal(await service.exit, 0);
    assert.equal(service.logs.at(-1)?.msg, "shut down");
  });

  test("lets unary calls and streams over HTTP/1.1 end, too", async () => {
    simulator.run({ steps: [{ respond: answer, gateAfter: { events: 5, gate: "shutdown" }, times: 3 }] });
    await using service = await start("0s");
    const [http1, http2] = ["Connect over HTTP/1.1", "Connect over HTTP/2"].map((name) =>
      createClient(ChatService, transports(service.url)[name] as never),
    );
    assert.ok(http1 && http2);
    const calls = [http1.chat(hello), http2.chat(hello)];
    const stream = http1.streamChat({ chat: hello })[Symbol.asyncIterator]();
    for (const _ of Array(3)) await simulator.nextRequest();
    await endLameDuck(service);

    simulator.open("shutdown");
    for (const { content } of await Promise.all(calls)) assert.equal(content.length, 1);
    let last: string | undefined;
    for (let next = await stream.next(); !next.done; next = await stream.next()) last = next.value.event.case;
    assert.equal(last, "messageStop");
    assert.equal(await service.exit, 0);
  });

  test("ends the streams of those that watch its health, after NOT_SERVING", async () => {
    await using service = await start("0s");
    const statuses: Status[] = [];
    const watching = Promise.withResolvers<void>();
    const watch = (async () => {
      for await (const { status } of healthClient(service).watch({})) {
        statuses.push(status);
        watching.resolve();
      }
    })();
    await watching.promise;
    service.child.kill("SIGTERM");
    await watch;
    assert.deepEqual(statuses, [Status.SERVING, Status.NOT_SERVING]);
    assert.equal(await service.exit, 0);
  });

  const idle: Record<string, string> = {
    "has said nothing": "",
    "has been answered": "GET /made.up HTTP/1.1\r\nhost: localhost\r\n\r\n",
  };
  for (const [name, text] of Object.entries(idle)) {
    for (const secure of [false, true]) {
      test(`closes a connection that ${name}${secure ? ", over TLS" : ""}`, async () => {
        using folder = createTlsFolder();
        await using service = await start("0s", { ...(secure && { tls: folder.files }) });
        const socket = secure
          ? connectTls({ port: service.port, host: "127.0.0.1", ...trust })
          : connect(service.port, "127.0.0.1");
        await once(socket, secure ? "secureConnect" : "connect");
        if (text !== "") socket.write(text);
        // The service has accepted the connection when it has answered on it, or on another one that came later.
        if (text !== "") await once(socket, "data");
        else await once(openHttp2(url(service, secure), trust), "remoteSettings");
        service.child.kill("SIGTERM");
        await once(socket.resume(), "close");
        assert.equal(await service.exit, 0);
      });
    }
  }

  const last: Record<string, { readonly head: string; readonly chat: boolean }> = {
    "call is answered": { head: "POST /parley.v1.ChatService/Chat HTTP/1.1\r\n", chat: true },
    "stream has ended": {
      head: "POST /parley.v1.ChatService/StreamChat HTTP/1.1\r\naccept: text/event-stream\r\n",
      chat: false,
    },
  };
  for (const [name, { head, chat }] of Object.entries(last)) {
    test(`closes a connection of HTTP/1.1 as soon as its last ${name}`, async () => {
      simulator.run({ steps: [{ respond: answer, gateAfter: { events: 5, gate: "shutdown" } }] });
      await using service = await start("0s");
      const socket = connect(service.port, "127.0.0.1");
      const chunks: Buffer[] = [];
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      const request = { messages: [{ role: "ROLE_USER", text: "hello" }] };
      const body = JSON.stringify(chat ? request : { chat: request });
      const begun = once(socket, "data");
      const type = "host: localhost\r\ncontent-type: application/json";
      socket.write(`${head}${type}\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      await simulator.nextRequest();
      if (!chat) await begun;
      await endLameDuck(service);

      simulator.open("shutdown");
      await once(socket, "close");
      const reply = Buffer.concat(chunks).toString();
      assert.match(reply, /^HTTP\/1\.1 200 /);
      if (chat) assert.match(reply, /\r\nconnection: close\r\n/i);
      else assert.match(reply, /"messageStop"/);
      assert.equal(await service.exit, 0);
    });
  }

  const late: Record<string, { readonly rest: string | Buffer; readonly reply: (string | Buffer)[] }> = {
    "answers a call over HTTP/1.1 that was about to come, and closes the connection": {
      rest: "OST /made.up HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
      reply: ["HTTP/1.1 404 ", "\r\nconnection: close\r\n"],
    },
    "tells a connection of HTTP/2 that was about to begin to go": {
      rest: Buffer.concat([
        Buffer.from(HTTP2_PREFACE.slice(1)),
        http2Frame(SETTINGS, 0, 0),
        http2Frame(SETTINGS, 1, 0),
      ]),
      reply: [Buffer.of(0, 0, 8, GOAWAY, 0)],
    },
  };
  for (const [name, { rest, reply }] of Object.entries(late)) {
    test(name, async () => {
      await using service = await start("0s");
      const socket = connect(service.port, "127.0.0.1");
      const chunks: Buffer[] = [];
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      await new Promise((resolve) => socket.write("P", resolve));
      await endLameDuck(service);
      socket.write(rest);
      await once(socket, "close");
      for (const part of reply) assert.ok(Buffer.concat(chunks).includes(part), String(part));
      assert.equal(await service.exit, 0);
    });
  }
});
