/**
 * Shows Parley to someone who has just cloned it, without a key: starts the simulator of Claude and the service, calls
 * the service over real gRPC, and prints what a caller sees.
 */
import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { BadRequestSchema } from "../../gen/google/rpc/error_details_pb.js";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { ChatService, StopReason, ThinkingDisplay } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import { loadConfig } from "../config/config.ts";
import { toolsSchema } from "../config/tools-schema.ts";
import { createLogger } from "../observe/logger.ts";
import { createServer } from "../server.ts";
import { createSimulator } from "../simulator/simulator.ts";
import { INVENTORY_IMAGE, startInventoryService } from "./inventory/inventory-service.ts";
import { agentScript, runAgent } from "./run-agent.ts";

const say = (text: string) => process.stdout.write(text);
// Whoever reads has seen enough, as with `| head`.
process.stdout.on("error", () => process.exit());

await using simulator = await createSimulator({
  pacing: { firstTokenMs: 400, tokensPerSecond: 30 },
  script: agentScript,
});
await using inventory = await startInventoryService({ latencyMs: 300 });
const config = loadConfig({
  ANTHROPIC_API_KEY: "any-key-will-do",
  ANTHROPIC_BASE_URL: simulator.url,
  PORT: "0",
  ADMIN_PORT: "0",
});
// What the file that PARLEY_CONFIG names would say.
const tools = toolsSchema.parse({
  grpc: [
    {
      name: "inventory",
      target: inventory.address,
      descriptors: INVENTORY_IMAGE,
      methods: [
        { name: "inventory.v1.InventoryService/GetStock" },
        { name: "inventory.v1.InventoryService/ListWarehouses" },
      ],
    },
  ],
});
const logger = await createLogger({ level: "silent", pretty: false });
await using server = await createServer({ ...config, tools }, logger);
const transport = createGrpcTransport({ baseUrl: `http://localhost:${server.port}` });
const client = createClient(ChatService, transport);

say(`Claude is simulated at ${simulator.url}\nParley listens at localhost:${server.port}\n`);
say(`A gRPC service with an inventory, which knows nothing of either, listens at ${inventory.address}\n`);
await chat(client);
await streamChat(client);
await runAgent(createClient(AgentService, transport), say);
await refused(client);

/** The whole answer at once. */
async function chat(client: Client<typeof ChatService>): Promise<void> {
  say("\n── Chat ────────────────────────────────────────────────────────────\n");
  say("> Hello, Claude!\n");
  const answer = await client.chat({ messages: [{ role: Role.USER, text: "Hello, Claude!" }] }, { timeoutMs: 30_000 });
  for (const { kind } of answer.content) if (kind.case === "text") say(`${kind.value.text}\n`);
  say(`  model ${answer.model}, stopped by ${StopReason[answer.stopReason]}, ${tokens(answer.usage)}\n`);
}

/** The answer token by token, with Claude's thinking. */
async function streamChat(client: Client<typeof ChatService>): Promise<void> {
  say("\n── StreamChat ──────────────────────────────────────────────────────\n");
  say("> Tell me a story in 60 words.\n");
  const startedAt = performance.now();
  let firstAt: number | undefined;
  const events = client.streamChat(
    {
      chat: {
        messages: [{ role: Role.USER, text: "Tell me a story in 60 words." }],
        thinking: { mode: { case: "adaptive", value: { display: ThinkingDisplay.SUMMARIZED } } },
      },
    },
    { timeoutMs: 60_000 },
  );
  for await (const { event } of events) {
    switch (event.case) {
      case "contentBlockStart":
        say(event.value.contentBlock?.kind.case === "thinking" ? "(thinking) " : "");
        break;
      case "contentBlockDelta": {
        const { delta } = event.value;
        firstAt ??= performance.now();
        if (delta.case === "text" || delta.case === "thinking") say(delta.value);
        break;
      }
      case "contentBlockStop":
        say("\n");
        break;
      case "messageStop":
        say(
          `  first token after ${Math.round((firstAt ?? 0) - startedAt)} ms, ${tokens(event.value.finalMessage?.usage)}\n`,
        );
        break;
    }
  }
}

/** An error says what is wrong, and where. */
async function refused(client: Client<typeof ChatService>): Promise<void> {
  say("\n── A request that is refused ───────────────────────────────────────\n");
  say("> max_tokens: -1\n");
  try {
    await client.chat({ messages: [{ role: Role.USER, text: "Hello" }], maxTokens: -1 });
  } catch (error) {
    const failure = ConnectError.from(error);
    say(`${failure.message}\n`);
    for (const { field, description } of failure.findDetails(BadRequestSchema)[0]?.fieldViolations ?? []) {
      say(`  google.rpc.BadRequest: ${field} ${description}\n`);
    }
  }
}

function tokens(usage: Usage | undefined): string {
  return `${usage?.inputTokens ?? 0} tokens in and ${usage?.outputTokens ?? 0} out`;
}
