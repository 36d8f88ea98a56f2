import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { type ServiceProcess, startServiceProcess } from "../support/process.ts";

const hello = { messages: [{ role: Role.USER, text: "hello" }] };
const answer = { content: [{ text: "Hello, you there, and everyone else" }] };

/** Has the process do something at SIGUSR2. */
const atSignal = (script: string) =>
  `--import data:text/javascript,${encodeURIComponent(`process.on("SIGUSR2", () => { ${script} })`)}`;

interface Running extends AsyncDisposable {
  readonly simulator: Simulator;
  readonly service: ServiceProcess;
}

async function start(fault: string, server: object): Promise<Running> {
  await using starting = new AsyncDisposableStack();
  const script = { steps: [{ respond: answer, gateAfter: { events: 5, gate: "shutdown" } }] };
  const simulator = starting.use(await createSimulator({ pacing: "instant", script }));
  const env = { ANTHROPIC_BASE_URL: simulator.url, NODE_OPTIONS: atSignal(fault) };
  const service = starting.use(await startServiceProcess(env, { server: { lameDuck: "0s", drain: "1h", ...server } }));
  const running = starting.move();
  return { simulator, service, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Begins a stream, and resolves with what reads the rest of it and returns the kind of its last event. */
async function beginStream({ url }: ServiceProcess): Promise<() => Promise<string | undefined>> {
  const client = createClient(ChatService, createGrpcTransport({ baseUrl: url }));
  const stream = client.streamChat({ chat: hello })[Symbol.asyncIterator]();
  await stream.next();
  return async () => {
    let last: string | undefined;
    for (let next = await stream.next(); !next.done; next = await stream.next()) last = next.value.event.case;
    return last;
  };
}

const shuttingDown = ({ msg }: Record<string, unknown>) => String(msg).startsWith("shutting down");

describe("after an exception that nobody caught, the service", { concurrency: true, timeout: 120_000 }, () => {
  const exception = `throw new Error("made up")`;

  test("shuts down once, however many follow, lets streams end, and exits with 1", async () => {
    await using running = await start(exception, {});
    const { simulator, service } = running;
    const rest = await beginStream(service);
    for (let exceptions = 1; exceptions <= 3; exceptions++) {
      service.child.kill("SIGUSR2");
      await service.line(() => service.logs.filter(({ msg }) => msg === "uncaught exception").length === exceptions);
    }
    await service.line(shuttingDown);
    simulator.open("shutdown");
    assert.equal(await rest(), "messageStop");
    assert.equal(await service.exit, 1);
    assert.equal(service.logs.filter(shuttingDown).length, 1);
    assert.deepEqual(
      service.logs.slice(-2).map(({ msg }) => msg),
      ["call", "shut down"],
    );
  });

  test("goes on with that at a signal, as Kubernetes sends one when probes fail, and exits at once at another", async () => {
    await using running = await start(exception, { lameDuck: "10m" });
    const { simulator, service } = running;
    const rest = await beginStream(service);
    service.child.kill("SIGUSR2");
    await service.line(shuttingDown);
    service.child.kill("SIGTERM");
    simulator.open("shutdown");
    assert.equal(await rest(), "messageStop");
    service.child.kill("SIGTERM");
    assert.equal(await service.exit, 1);
    assert.ok(!service.logs.some(({ msg }) => msg === "shut down"));
  });
});

describe("a shutdown ends with 1, and says so, when closing", { concurrency: true, timeout: 120_000 }, () => {
  const close = (body: string) => `process.getBuiltinModule("node:net").Server.prototype.close = ${body}`;
  const faults: Record<string, { readonly body: string; readonly last: string[] }> = {
    fails: { body: `() => { throw new Error("made up") }`, last: ["the shutdown has failed", "shut down"] },
    "does not end": {
      body: `function () { return this }`,
      last: ["the shutdown takes too long: the process ends without the rest of it"],
    },
  };
  for (const [name, { body, last }] of Object.entries(faults)) {
    test(name, async () => {
      await using running = await start(close(body), { drain: "0s" });
      const { service } = running;
      service.child.kill("SIGUSR2");
      service.child.kill("SIGTERM");
      assert.equal(await service.exit, 1);
      assert.deepEqual(
        service.logs.slice(-last.length).map(({ msg }) => msg),
        last,
      );
    });
  }
});
