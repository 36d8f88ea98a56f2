import assert from "node:assert/strict";
import type { LookupAddress } from "node:dns";
import { once } from "node:events";
import { createServer, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from "node:net";
import { describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, type ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { Health, HealthCheckResponseSchema } from "../../gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createTransport, type TransportOptions } from "../../src/client/transport.ts";
import { startService } from "../support/service.ts";
import { createTlsFolder, trust } from "../support/tls.ts";
import { envelope } from "../support/wire.ts";

const PATIENCE = { timeout: 60_000 };
const hello = { messages: [{ role: Role.USER, text: "hello" }] };

/** A server of health that does with the nth stream what it is told to, and answers all others. */
async function startFake(
  host: string,
  port = 0,
  onStream: (stream: ServerHttp2Stream, nth: number, socket: Socket) => boolean = () => true,
) {
  const server = createServer();
  let streams = 0;
  let socket: Socket;
  server.on("connection", (accepted) => {
    socket = accepted;
  });
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => {});
    if (!onStream(stream, ++streams, socket)) return;
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(envelope(toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, { status: 1 }))));
  });
  server.listen(port, host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get streams() {
      return streams;
    },
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, "close");
    },
  };
}

/** A listener that answers no attempt to connect: its thread accepts none, and its queue is full. */
async function startSilent(host: string, port: number) {
  const code = `
    const { parentPort } = require("node:worker_threads");
    require("node:net").createServer().listen({ host: "${host}", port: ${port}, backlog: 1 }, () => {
      parentPort.postMessage("listening");
      setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
    });
  `;
  const worker = new Worker(code, { eval: true });
  await once(worker, "message");
  // Linux takes one more than the backlog says.
  const queue = [connect(port, host), connect(port, host)];
  await Promise.all(queue.map((socket) => once(socket, "connect")));
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of queue) socket.on("error", () => {}).destroy();
      await worker.terminate();
    },
  };
}

/** A listener that takes connections, and says nothing. */
async function startMute(host: string, port: number, onSocket: (socket: Socket) => void = () => {}) {
  const sockets: Socket[] = [];
  const server = createNetServer((socket) => {
    sockets.push(socket.on("error", () => {}));
    onSocket(socket);
  });
  server.listen(port, host);
  await once(server, "listening");
  return {
    sockets,
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}

/** A transport to addresses, whatever they are at the time of a look-up. */
function transportTo(port: number, addresses: () => readonly string[], more: Partial<TransportOptions> = {}) {
  const lookup = async () => addresses().map((address) => ({ address, family: 4 }));
  return createTransport({ baseUrl: `http://parley.test:${port}`, lookup, ...more });
}

const codeIs = (code: Code) => (error: ConnectError) => error.code === code;

describe("the TypeScript client", PATIENCE, () => {
  test("gives all addresses calls in turn", async () => {
    await using one = await startFake("127.0.0.1");
    await using two = await startFake("127.0.0.2", one.port);
    using transport = transportTo(one.port, () => ["127.0.0.1", "127.0.0.2"]);
    const client = createClient(Health, transport);
    for (let calls = 0; calls < 6; calls++) await client.check({});
    assert.deepEqual([one.streams, two.streams], [3, 3]);
  });

  test("passes over an address that cannot be reached", async () => {
    await using one = await startFake("127.0.0.1");
    using transport = transportTo(one.port, () => ["127.0.0.2", "127.0.0.1"]);
    const client = createClient(Health, transport);
    for (let calls = 0; calls < 4; calls++) await client.check({});
    assert.equal(one.streams, 4);
  });

  test("has no call wait for an address that does not answer while there is another", async () => {
    await using one = await startFake("127.0.0.1");
    await using _ = await startSilent("127.0.0.2", one.port);
    await using mute = await startMute("127.0.0.3", one.port);
    using transport = transportTo(one.port, () => ["127.0.0.3", "127.0.0.2", "127.0.0.1"]);
    const client = createClient(Health, transport);
    // Less than connecting may take, which is 3 s.
    for (let calls = 0; calls < 24; calls++) await client.check({}, { timeoutMs: 2_500 });
    assert.equal(one.streams, 24);
    assert.ok(mute.sockets.length > 0);
  });

  test("does not wait again and again for an address that takes connections, and says nothing", async () => {
    await using one = await startFake("127.0.0.1");
    await using mute = await startMute("127.0.0.2", one.port);
    using transport = transportTo(one.port, () => ["127.0.0.2", "127.0.0.1"]);
    const client = createClient(Health, transport);
    // It is tried again by the way, and no call waits for that as long as connecting may take, which is 3 s.
    while (mute.sockets.length < 2) await client.check({}, { timeoutMs: 2_500 });
  });

  test("sends a call again whose connection has ended, or hangs, before the other side has said anything", async () => {
    const ends: ((socket: Socket) => void)[] = [
      (socket) => socket.destroy(),
      (socket) => socket.once("data", () => socket.destroy()),
      (socket) => socket.once("data", () => socket.resetAndDestroy()),
      () => {},
    ];
    await using one = await startFake("127.0.0.1");
    for (const end of ends) {
      await using mute = await startMute("127.0.0.2", one.port, end);
      using transport = transportTo(one.port, () => ["127.0.0.2", "127.0.0.1"]);
      const client = createClient(Health, transport);
      await Promise.all(Array.from({ length: 20 }, () => client.check({})));
      assert.ok(mute.sockets.length > 0);
    }
  });

  test("gives calls again to an address that can be reached again", async () => {
    await using one = await startFake("127.0.0.1");
    using transport = transportTo(one.port, () => ["127.0.0.2", "127.0.0.1"]);
    const client = createClient(Health, transport);
    await client.check({});
    await using two = await startFake("127.0.0.2", one.port);
    while (two.streams === 0) await client.check({});
    assert.ok(one.streams > 0);
  });

  test("finds the addresses anew when one cannot be reached", async () => {
    let addresses = ["127.0.0.1"];
    const one = await startFake("127.0.0.1");
    using transport = transportTo(one.port, () => addresses);
    const client = createClient(Health, transport);
    await client.check({});
    await one[Symbol.asyncDispose]();
    await using two = await startFake("127.0.0.2", one.port);
    addresses = ["127.0.0.2"];
    // The first call that fails finds out.
    await client.check({}).catch(() => {});
    await client.check({});
    assert.ok(two.streams >= 1);
  });

  test("says UNAVAILABLE when no address can be reached or answers, when there is none, and when the name is not known", async () => {
    const unreachable = await startFake("127.0.0.1");
    await unreachable[Symbol.asyncDispose]();
    await using _ = await startMute("127.0.0.2", unreachable.port);
    const lookups: TransportOptions["lookup"][] = [
      async () => [{ address: "127.0.0.1", family: 4 }],
      async () => [{ address: "127.0.0.2", family: 4 }],
      async () => [],
      async () => Promise.reject(new Error("ENOTFOUND")),
    ];
    for (const lookup of lookups) {
      using transport = createTransport({
        baseUrl: `http://parley.test:${unreachable.port}`,
        ...(lookup && { lookup }),
      });
      await assert.rejects(createClient(Health, transport).check({}), codeIs(Code.Unavailable));
    }
  });

  test("sends a call again that was refused, and gives up when it is refused again and again", async () => {
    const REFUSED_STREAM = 7;
    const refuse = (times: number) => (stream: ServerHttp2Stream, nth: number) => {
      if (nth <= times) stream.close(REFUSED_STREAM);
      return nth > times;
    };
    await using twice = await startFake("127.0.0.1", 0, refuse(2));
    using patient = transportTo(twice.port, () => ["127.0.0.1"]);
    await createClient(Health, patient).check({});
    assert.equal(twice.streams, 3);
    for await (const { status } of createClient(Health, patient).watch({})) assert.equal(status, 1);

    await using always = await startFake("127.0.0.1", 0, refuse(Number.POSITIVE_INFINITY));
    using transport = transportTo(always.port, () => ["127.0.0.1"]);
    await assert.rejects(createClient(Health, transport).check({}), codeIs(Code.Unavailable));
    assert.equal(always.streams, 5);
  });

  test("sends no call again that the service has answered or may have worked on", async () => {
    const INTERNAL_ERROR = 2;
    const faults: ((stream: ServerHttp2Stream) => void)[] = [
      (stream) => stream.close(INTERNAL_ERROR),
      // The message of the call has come.
      (stream) => stream.once("data", () => stream.session?.destroy()),
      (stream) =>
        stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": 14 }, { endStream: true }),
      (stream) =>
        stream.respond(
          { ":status": 200, "content-type": "application/grpc", "grpc-status": 14, "grpc-message": "REFUSED_STREAM" },
          { endStream: true },
        ),
    ];
    for (const fault of faults) {
      await using server = await startFake("127.0.0.1", 0, (stream) => {
        fault(stream);
        return false;
      });
      using transport = transportTo(server.port, () => ["127.0.0.1"]);
      await assert.rejects(createClient(Health, transport).check({}));
      assert.equal(server.streams, 1, String(fault));
    }
  });

  test("says UNAVAILABLE when the connection of a call is lost, before its first message and after", async () => {
    const losses: ((stream: ServerHttp2Stream, socket: Socket) => void)[] = [
      (stream) => stream.session?.destroy(),
      (_, socket) => socket.destroy(),
      (_, socket) => socket.resetAndDestroy(),
    ];
    const message = envelope(toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, { status: 1 })));
    for (const lose of losses) {
      for (const answersFirst of [false, true]) {
        await using server = await startFake("127.0.0.1", 0, (stream, _, socket) => {
          if (!answersFirst) stream.once("data", () => lose(stream, socket));
          else {
            stream.respond({ ":status": 200, "content-type": "application/grpc" });
            stream.write(message, () => setImmediate().then(() => lose(stream, socket)));
          }
          return false;
        });
        using transport = transportTo(server.port, () => ["127.0.0.1"]);
        const client = createClient(Health, transport);
        const watching = (async () => {
          for await (const { status } of client.watch({})) assert.equal(status, 1);
        })();
        await assert.rejects(watching, codeIs(Code.Unavailable), `${lose} ${answersFirst}`);
        await assert.rejects(client.check({}), codeIs(Code.Unavailable), `${lose} ${answersFirst}`);
        assert.equal(server.streams, 2);
      }
    }
  });

  test("keeps to the deadline and to the signal of a call, also while it waits for an address", async () => {
    const never = () => new Promise<never>(() => {});
    using transport = createTransport({ baseUrl: "http://parley.test:1", lookup: never });
    const client = createClient(Health, transport);
    await assert.rejects(client.check({}, { timeoutMs: 50 }), codeIs(Code.DeadlineExceeded));
    const signal = AbortSignal.timeout(50);
    await assert.rejects(client.check({}, { signal }), codeIs(Code.Canceled));
    await assert.rejects(client.check({}, { signal: AbortSignal.abort() }), codeIs(Code.Canceled));
  });

  test("takes a timeout of 0 and less for none, as the transports of Connect do", async () => {
    await using server = await startFake("127.0.0.1");
    for (const timeoutMs of [0, -1]) {
      using transport = transportTo(server.port, () => ["127.0.0.1"]);
      for (let calls = 0; calls < 2; calls++) await createClient(Health, transport).check({}, { timeoutMs });
    }
  });

  test("says so when a look-up has taken too long", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    using transport = createTransport({ baseUrl: "http://parley.test:1", lookup: () => new Promise<never>(() => {}) });
    const failed = assert.rejects(createClient(Health, transport).check({}), /parley\.test is still being looked up/);
    await setImmediate();
    t.mock.timers.tick(10_000);
    await failed;
  });

  test("checks certificates by the name, not by the address", async () => {
    using folder = createTlsFolder();
    await using service = await startService({ config: { server: { tls: folder.files } } });
    const port = service.server.port;
    const lookup = async () => [{ address: "127.0.0.1", family: 4 }];
    using transport = createTransport({ baseUrl: `https://localhost:${port}`, lookup, nodeOptions: trust });
    assert.equal((await createClient(ChatService, transport).chat(hello)).content.length, 1);
    using wrong = createTransport({ baseUrl: `https://other.test:${port}`, lookup, nodeOptions: trust });
    await assert.rejects(createClient(ChatService, wrong).chat(hello), codeIs(Code.Unavailable));
  });

  test("takes the addresses of the system, and speaks all kinds of methods", async () => {
    await using service = await startService();
    using transport = createTransport({ baseUrl: service.url });
    let last: string | undefined;
    for await (const { event } of createClient(ChatService, transport).streamChat({ chat: hello })) last = event.case;
    assert.equal(last, "messageStop");
    const listServices = { messageRequest: { case: "listServices", value: "" } } as const;
    const replies = createClient(ServerReflection, transport).serverReflectionInfo(
      (async function* () {
        yield listServices;
      })(),
    );
    for await (const { messageResponse } of replies) assert.equal(messageResponse.case, "listServicesResponse");
  });

  test("ends the calls in progress when it is closed, and takes no others", async () => {
    await using service = await startService({ script: { steps: [{ gateAfter: { events: 5, gate: "never" } }] } });
    const transport = createTransport({ baseUrl: service.url });
    const stream = createClient(ChatService, transport).streamChat({ chat: hello })[Symbol.asyncIterator]();
    await stream.next();
    const rest = (async () => {
      while (!(await stream.next()).done);
    })();
    transport[Symbol.dispose]();
    await assert.rejects(rest, codeIs(Code.Canceled));
    await assert.rejects(createClient(ChatService, transport).chat(hello), codeIs(Code.Canceled));
  });

  test("ends the calls that wait for an address when it is closed, and sends them to none", async () => {
    await using server = await startFake("127.0.0.1");
    await using _ = await startSilent("127.0.0.2", server.port);
    const lookup = Promise.withResolvers<readonly LookupAddress[]>();
    const begun = Promise.withResolvers<void>();
    const transport = createTransport({
      baseUrl: `http://parley.test:${server.port}`,
      lookup: () => {
        begun.resolve();
        return lookup.promise;
      },
    });
    const looking = createClient(Health, transport).check({});
    await begun.promise;
    transport[Symbol.dispose]();
    lookup.resolve([{ address: "127.0.0.1", family: 4 }]);
    await assert.rejects(looking, codeIs(Code.Canceled));

    const found = Promise.withResolvers<void>();
    const other = transportTo(server.port, () => {
      found.resolve();
      return ["127.0.0.2", "127.0.0.1"];
    });
    const connecting = createClient(Health, other).check({});
    await found.promise;
    await setImmediate();
    other[Symbol.dispose]();
    await assert.rejects(connecting, codeIs(Code.Canceled));
    assert.equal(server.streams, 0);
  });

  test("sends no call to anybody when it was closed while an interceptor of the call was at work", async () => {
    await using server = await startFake("127.0.0.1");
    const begun = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    const interceptor: Interceptor = (next) => async (request) => {
      begun.resolve();
      await closed.promise;
      return await next(request);
    };
    const transport = transportTo(server.port, () => ["127.0.0.1"], { interceptors: [interceptor] });
    const call = createClient(Health, transport).check({});
    await begun.promise;
    transport[Symbol.dispose]();
    closed.resolve();
    await assert.rejects(call, codeIs(Code.Canceled));
    assert.equal(server.streams, 0);
  });
});
