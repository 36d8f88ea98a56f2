import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { ChatService, StreamChatRequestSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { missingTools } from "../chart/tools.ts";
import { toldByStatus } from "../support/details.ts";
import { freePort } from "../support/free-port.ts";
import { type ServiceProcess, startServiceProcess } from "../support/process.ts";
import { transports } from "../support/service.ts";
import { trust } from "../support/tls.ts";
import { envelope, openHttp2, sendHttp2 } from "../support/wire.ts";
import { type Caller, callers, callWithConnect, callWithGrpcJs } from "./callers.ts";
import {
  assertToldAlike,
  BEFORE_TEXT,
  chat,
  chatOf,
  codeOf,
  failureOf,
  failures,
  phases,
  requestOf,
  respond,
  TOKENS,
} from "./cases.ts";
import { ingressAnnotations } from "./chart.ts";
import { type IngressSettings, readAnnotations } from "./ingress-nginx.ts";
import { missingNginx, type Nginx, startNginx } from "./nginx.ts";

/** How a caller goes away. */
const leavers: Record<string, (url: string) => { readonly caller: Caller; leave(controller: AbortController): void }> =
  {
    "cancels, with grpc-js,": (url) => ({
      caller: callWithGrpcJs(url),
      leave: (controller) => controller.abort(),
    }),
    "cancels, with connect-node,": (url) => ({
      caller: callWithConnect(url),
      leave: (controller) => controller.abort(),
    }),
    "loses its connection": (url) => {
      const caller = callWithConnect(url);
      return { caller, leave: () => caller.vanish() };
    },
  };

describe("behind nginx with the chart's settings", { skip: missingNginx() || missingTools, timeout: 120_000 }, () => {
  let simulator: Simulator;
  let service: ServiceProcess;
  let settings: IngressSettings;
  let nginx: Nginx;
  before(async () => {
    simulator = await createSimulator({ pacing: "instant" });
    // Not even the service's own heartbeats break a silence.
    const config = { server: { heartbeat: "10m" }, claude: { retry: { maxAttempts: 1 } } };
    service = await startServiceProcess({ ANTHROPIC_BASE_URL: simulator.url }, config);
    settings = readAnnotations(await ingressAnnotations());
    nginx = await startNginx({ settings, upstreams: [service.port] });
  });
  after(async () => {
    await nginx?.[Symbol.asyncDispose]();
    await service?.[Symbol.asyncDispose]();
    await simulator?.[Symbol.asyncDispose]();
  });

  for (const name of Object.keys(transports("https://localhost"))) {
    test(`a call and a stream pass, by ${name}`, async () => {
      simulator.run({ steps: [{ respond, times: 2 }] });
      const client = createClient(ChatService, transports(nginx.url, trust)[name] as never);
      assert.equal((await client.chat(chat)).content.length, 1);
      let last: string | undefined;
      for await (const { event } of client.streamChat({ chat })) last = event.case;
      assert.equal(last, "messageStop");
    });
  }

  for (const [name, callerOf] of Object.entries(callers)) {
    test(`each token is there before Claude sends the next one, with ${name}`, async () => {
      const held = TOKENS.map((_, index) => ({
        text: `held after ${index}`,
        gate: `gate ${index}`,
        tokens: index + 1,
      }));
      const steps = held.map(({ text, gate, tokens }) => ({
        expect: { contains: text },
        respond,
        gateAfter: { events: BEFORE_TEXT + tokens, gate },
      }));
      simulator.run({ anyOrder: true, steps });
      using caller = callerOf(nginx.url);
      for (const { text, gate, tokens: expected } of held) {
        const tokens: unknown[] = [];
        for await (const { event } of caller.streamChat(chatOf(text))) {
          if (event.case === "contentBlockDelta") tokens.push(event.value.delta.value);
          if (tokens.length === expected) simulator.open(gate);
        }
        assert.deepEqual(tokens, TOKENS);
      }
    });

    for (const [what, failure] of Object.entries(failures)) {
      test(`a call tells as much of ${what} as without nginx, with ${name}`, async () => {
        await assertToldAlike(simulator, callerOf, [nginx.url, service.url], failure);
      });
    }

    test(`a call is UNAVAILABLE when no replica is there, with ${name}`, async () => {
      await using alone = await startNginx({ settings, upstreams: [await freePort()] });
      using caller = callerOf(alone.url);
      const { code } = await failureOf(caller, chat);
      assert.equal(code, "Unavailable");
    });
  }

  test("a request of more than nginx's default of 1 MB passes", async () => {
    simulator.run({ steps: [{ respond }] });
    using caller = callWithGrpcJs(nginx.url);
    assert.equal((await caller.chat(chatOf("x".repeat(2 * 1024 * 1024)))).content.length, 1);
  });

  for (const [how, leaverOf] of Object.entries(leavers)) {
    for (const [phase, step] of Object.entries(phases)) {
      test(`a caller that ${how} ${phase} stops the request to Claude`, async () => {
        simulator.run({ steps: [step] });
        const { caller, leave } = leaverOf(nginx.url);
        const controller = new AbortController();
        const text = `${how} ${phase}`;
        const left = codeOf(caller, text, controller.signal);
        const request = await requestOf(simulator, text);
        leave(controller);
        assert.notEqual(await left, "complete");
        assert.equal((await request.ended).how, "client-closed");
        caller[Symbol.dispose]();
      });
    }
  }

  test("a deadline reaches the service, which keeps it", async () => {
    simulator.run({ steps: [{ gate: "never" }] });
    // A client's own would end the call by itself.
    const session = openHttp2(nginx.url, trust);
    const headers = { "content-type": "application/grpc", te: "trailers", "grpc-timeout": "500m" };
    const input = create(StreamChatRequestSchema, { chat: chatOf("in time") });
    const reply = await sendHttp2(
      session,
      { ":method": "POST", ":path": "/parley.v1.ChatService/StreamChat", ...headers },
      envelope(toBinary(StreamChatRequestSchema, input)),
    );
    session.close();
    assert.equal(reply.headers["grpc-status"], String(Code.DeadlineExceeded));
    const details = Buffer.from(reply.headers["grpc-status-details-bin"] ?? "", "base64");
    assert.equal(toldByStatus(details).errorInfo?.reason, "DEADLINE_EXCEEDED");
    assert.equal((await (await requestOf(simulator, "in time")).ended).how, "client-closed");
  });

  for (const [name, callerOf] of Object.entries(callers)) {
    test(`a silence ends a call if it outlasts the read timeout, and not otherwise, with ${name}`, async () => {
      simulator.run({
        anyOrder: true,
        steps: [
          { expect: { contains: "impatient" }, respond, gateAfter: { events: BEFORE_TEXT + 2, gate: "never" } },
          { expect: { contains: "not patient" }, respond, gate: "never" },
          { expect: { contains: "patience" }, respond, gateAfter: { events: BEFORE_TEXT + 2, gate: "cut" } },
        ],
      });
      await using impatient = await startNginx({
        settings: { ...settings, readTimeout: 3 },
        upstreams: [service.port],
      });
      using patientCaller = callerOf(nginx.url);
      using caller = callerOf(impatient.url);
      const patient = codeOf(patientCaller, "patience");
      const stream = codeOf(caller, "impatient");
      assert.equal((await failureOf(caller, chatOf("not patient"))).code, "Unavailable");
      assert.equal(await stream, "Internal");
      assert.equal((await (await requestOf(simulator, "impatient")).ended).how, "client-closed");
      simulator.open("cut");
      assert.equal(await patient, "complete");
    });
  }
});
