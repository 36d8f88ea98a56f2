import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { ChatService, StreamChatRequestSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Script, type Simulator } from "../../src/simulator/simulator.ts";
import { missingTools } from "../chart/tools.ts";
import { type Told, toldByStatus } from "../support/details.ts";
import { freePort } from "../support/free-port.ts";
import { type ServiceProcess, startServiceProcess } from "../support/process.ts";
import { transports } from "../support/service.ts";
import { trust } from "../support/tls.ts";
import { envelope, openHttp2, sendHttp2 } from "../support/wire.ts";
import { type Caller, callers, callWithConnect, callWithGrpcJs } from "./callers.ts";
import { ingressAnnotations } from "./chart.ts";
import { type IngressSettings, readAnnotations } from "./ingress-nginx.ts";
import { missingNginx, type Nginx, startNginx } from "./nginx.ts";

type Step = Script["steps"][number];

const chatOf = (text: string) => ({ messages: [{ role: Role.USER, text }] });
const chat = chatOf("hello");
const respond = { content: [{ text: "one two six ten" }] };
const TOKENS = ["one ", "two ", "six ", "ten"];
/** Events of Claude's before the first token: the beginning of the message, a ping, the beginning of the block. */
const BEFORE_TEXT = 3;

/** Where Claude's answer stands still. */
const phases: Record<string, Step> = {
  "before its headers": { respond, gate: "never" },
  "before the first token": { respond, gateAfter: { events: BEFORE_TEXT, gate: "never" } },
  "between two tokens": { respond, gateAfter: { events: BEFORE_TEXT + 2, gate: "never" } },
};

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

/** What Claude does that makes a call fail, or what is asked of it. */
const failures: Record<string, { readonly step?: Step; readonly messages?: typeof chat.messages }> = {
  "a request that is not valid": { messages: [] },
  "a rate limit": {
    step: {
      respond: { status: 429, headers: { "retry-after": "7" }, error: { type: "rate_limit_error", message: "slow" } },
    },
  },
  "an overload": { step: { respond: { status: 529 } } },
  "an answer that is cut off": { step: { respond, faults: { cutAfter: BEFORE_TEXT + 2 } } },
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

  /** The request to Claude in which something is said. */
  async function requestOf(text: string) {
    for (;;) {
      const request = await simulator.nextRequest();
      if (request.bodyText.includes(text)) return request;
    }
  }

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

    for (const [failure, { step, messages = chat.messages }] of Object.entries(failures)) {
      test(`a call tells as much of ${failure} as without nginx, with ${name}`, async () => {
        simulator.run({ steps: step === undefined ? [] : [{ ...step, times: 2 }] });
        const [through, direct] = await Promise.all(
          [nginx.url, service.url].map(async (url) => {
            using caller = callerOf(url);
            const { requestInfo, errorInfo, ...told } = await failureOf(caller, { messages });
            assert.ok(requestInfo);
            const { upstreamRequestId, ...metadata } = errorInfo?.metadata ?? {};
            assert.equal(upstreamRequestId !== undefined, step !== undefined);
            return { ...told, reason: errorInfo?.reason, metadata };
          }),
        );
        assert.ok(direct?.reason);
        assert.deepEqual(through, direct);
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
        const request = await requestOf(text);
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
    assert.equal((await (await requestOf("in time")).ended).how, "client-closed");
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
      assert.equal((await (await requestOf("impatient")).ended).how, "client-closed");
      simulator.open("cut");
      assert.equal(await patient, "complete");
    });
  }
});

/** Reads a stream to its end; resolves with the code of its error. */
async function codeOf(caller: Caller, text: string, signal?: AbortSignal): Promise<string> {
  try {
    for await (const _ of caller.streamChat(chatOf(text), signal));
    return "complete";
  } catch (error) {
    return caller.told(error).code;
  }
}

/** What the error of a call tells. */
async function failureOf(caller: Caller, input: typeof chat): Promise<Told> {
  try {
    await caller.chat(input);
  } catch (error) {
    return caller.told(error);
  }
  throw new Error("the call succeeded");
}
