import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AgentService, CreateRunRequestSchema, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Script, type Simulator } from "../../src/simulator/simulator.ts";
import { type ServiceProcess, startServiceProcess } from "../support/process.ts";
import { envelope, openHttp2 } from "../support/wire.ts";

interface Running extends AsyncDisposable {
  readonly simulator: Simulator;
  readonly service: ServiceProcess;
}

/** A service that drains for as long as it takes. */
async function start(step: Script["steps"][number]): Promise<Running> {
  await using starting = new AsyncDisposableStack();
  const simulator = starting.use(await createSimulator({ pacing: "instant", script: { steps: [step] } }));
  const env = { ANTHROPIC_BASE_URL: simulator.url };
  const service = starting.use(await startServiceProcess(env, { server: { lameDuck: "0s", drain: "1h" } }));
  const running = starting.move();
  return { simulator, service, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

const agents = ({ url }: ServiceProcess) => createClient(AgentService, createGrpcTransport({ baseUrl: url }));

/** A run that calls a tool of the caller's. */
const askingTheCaller = {
  chat: {
    messages: [{ role: Role.USER, text: "Go." }],
    tools: [{ kind: { case: "custom" as const, value: { name: "ask", inputSchemaJson: '{"type":"object"}' } } }],
  },
};
const asks = { content: [{ type: "tool_use", id: "toolu_1", name: "ask", input: {} }] };

describe("when the service takes no calls any more", { concurrency: true, timeout: 120_000 }, () => {
  const before = { respond: asks };
  const during = { respond: asks, gate: "shutdown" };
  for (const [name, step, last] of [
    ["waits for its caller to act", before, "actionRequired"],
    ["comes to wait for its caller to act", during, "turnStarted"],
  ] as const) {
    test(`a run that ${name} is interrupted, so that those who watch it do not hold up the exit`, async () => {
      await using running = await start(step as Script["steps"][number]);
      const { simulator, service } = running;
      const { run } = await agents(service).createRun({ run: askingTheCaller });
      const events = agents(service)
        .attachRun({ runId: run?.id ?? "" })
        [Symbol.asyncIterator]();
      for (let seen: string | undefined; seen !== last; ) seen = (await events.next()).value?.event?.event.case;
      service.child.kill("SIGTERM");
      await service.line(({ msg }) => String(msg).startsWith("shutting down"));
      simulator.open("shutdown");
      let state: RunState | undefined;
      for (let next = await events.next(); !next.done; next = await events.next()) {
        const { event } = next.value.event ?? {};
        if (event?.case === "runFinished") state = event.value.run?.state;
      }
      assert.equal(state, RunState.INTERRUPTED);
      assert.equal(await service.exit, 0);
    });
  }

  test("a run that a call begins which was on its way comes to its end, too", async () => {
    await using running = await start({ respond: { content: [{ text: "Done." }] }, gate: "shutdown" });
    const { simulator, service } = running;
    const session = openHttp2(service.url);
    await once(session, "remoteSettings");
    const call = session.request({
      ":method": "POST",
      ":path": "/parley.v1.AgentService/CreateRun",
      "content-type": "application/grpc",
      te: "trailers",
    });
    const run = { chat: { messages: [{ role: Role.USER, text: "Go." }] } };
    const request = envelope(toBinary(CreateRunRequestSchema, create(CreateRunRequestSchema, { run })));
    call.write(request.subarray(0, 8));
    // What was written before the PING has been read when it is answered.
    await new Promise((resolve) => session.ping(resolve));
    const told = once(session, "goaway");
    service.child.kill("SIGTERM");
    await told;
    call.end(request.subarray(8));
    const [{ "grpc-status": status }] = await once(call.resume(), "trailers");
    assert.equal(status, "0");
    await once(session, "close");
    assert.equal((await fetch(`${service.adminUrl}/livez`)).status, 200);
    simulator.open("shutdown");
    assert.equal(await service.exit, 0);
    assert.equal(service.logs.find(({ msg }) => msg === "run")?.state, "SUCCEEDED");
  });
});
