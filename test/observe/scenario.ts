import { Code, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { ToolError } from "../../src/tools/tool.ts";
import { failureOf } from "../support/details.ts";
import { ask, calls, run, says, startAgents } from "../support/runs.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import type { Service } from "../support/service.ts";

type Step = Script["steps"][number];

const request = { messages: [{ role: Role.USER, text: "Hello." }] };
const answer: Step = {
  respond: {
    content: [{ thinking: "A greeting." }, { text: "Hello to you, and to all who read this." }],
    usage: {
      input_tokens: 40,
      cache_read_input_tokens: 20,
      cache_creation_input_tokens: 10,
      output_tokens: 30,
      output_tokens_details: { thinking_tokens: 5 },
    },
  },
  timing: { firstTokenMs: 5, tokensPerSecond: 200 },
};
const failing = (status: number, type: string, headers: Record<string, string> = {}): Step => ({
  respond: { status, error: { type, message: "No." }, headers },
});
const overloaded = failing(529, "overloaded_error");

const tools = new ScriptedTools({
  stock: () => "3 in stock",
  price: () => {
    throw new ToolError(Code.Unavailable, "the service of prices is gone");
  },
});

/** A service with prices for two of three models, and with tools one of which fails. */
export function startScenario(): Promise<Service> {
  const price = { input: 3, output: 15 };
  return startAgents(tools, [], {
    config: {
      claude: { fallbackModels: ["claude-opus-5-5"], retry: { maxAttempts: 2 } },
      prices: { "claude-sonnet-5-5": price, "claude-opus-5-5": price },
    },
  });
}

/** What happens to a service in a day, in a second: one thing after the other, each with its own script for Claude. */
export async function playScenario(service: Service): Promise<void> {
  const { simulator, chat } = service;
  const connect = createConnectTransport({ baseUrl: service.url, httpVersion: "1.1" });
  const stream = async (leaving?: AbortController) => {
    const options = leaving === undefined ? {} : { signal: leaving.signal };
    for await (const { event } of chat.streamChat({ chat: request }, options)) {
      if (event.case === "contentBlockDelta") leaving?.abort();
    }
  };
  const play = async (steps: Step[], action: () => Promise<unknown>) => {
    simulator.run({ steps, afterwards: steps.length === 0 ? "converse" : "unexpected" });
    await action();
    simulator.verify();
  };

  await play([answer], () => chat.chat(request));
  await play([answer], () => createClient(ChatService, connect).chat(request));
  await play([answer], () => stream());
  await play([answer], () => chat.chat({ ...request, model: "claude-haiku-5-5" }));
  await play([overloaded, answer], () => chat.chat(request));
  await play([overloaded, overloaded, answer], () => chat.chat(request));

  const limits = {
    "anthropic-ratelimit-requests-limit": "1000",
    "anthropic-ratelimit-requests-remaining": "50",
    "anthropic-ratelimit-requests-reset": new Date(Date.now() + 60_000).toISOString(),
    "retry-after": "3600",
  };
  const failures = [
    [failing(400, "invalid_request_error")],
    [failing(401, "authentication_error")],
    [failing(429, "rate_limit_error", limits)],
    [failing(500, "api_error"), failing(500, "api_error")],
  ];
  for (const steps of failures) {
    await play(steps, () => failureOf(chat.chat({ ...request, disableFallback: true })));
  }
  await play([], () => failureOf(chat.chat({ ...request, model: "claude-nobody-knows" })));
  await play([], () => failureOf(chat.chat({})));

  const leaving = new AbortController();
  await play([{ ...answer, gateAfter: { events: 6, gate: "never" } }], () => failureOf(stream(leaving)));

  const turns = [calls(["stock"], ["price"]), says("There are three.")];
  await play(turns, () => run(service, ask(tools)));
  await play([failing(400, "invalid_request_error")], () => run(service, ask(tools)));
}
