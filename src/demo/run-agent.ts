import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import { type AgentService, RunState } from "../../gen/parley/v1/agent_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../simulator/simulator.ts";

const QUESTION = "Can we send a tent and a gas stove together by express?";

/** What the simulated Claude does with the question. All else is answered as without a script. */
export const agentScript: Script = {
  anyOrder: true,
  steps: [
    {
      expect: { contains: QUESTION },
      respond: {
        content: [
          { text: "I will look at the stock of both, and at where they can be sent from." },
          { type: "tool_use", id: "toolu_tent", name: "inventory_get_stock", input: { sku: "TENT-2P" } },
          { type: "tool_use", id: "toolu_stove", name: "inventory_get_stock", input: { sku: "STOVE-GAS" } },
          {
            type: "tool_use",
            id: "toolu_warehouses",
            name: "inventory_list_warehouses",
            input: { shippingClass: "SHIPPING_CLASS_EXPRESS" },
          },
        ],
        stop_reason: "tool_use",
      },
    },
    {
      expect: { contains: "TENT-2P" },
      respond: {
        content: [
          {
            text: "Yes: Leipzig sends by express, and has 12 tents for two and 40 gas stoves. Oslo has only four tents.",
          },
        ],
      },
    },
    { respond: { converse: true }, times: 1_000 },
  ],
};

/** Claude with tools, which are methods of the inventory service. */
export async function runAgent(client: Client<typeof AgentService>, say: (text: string) => void): Promise<void> {
  say("\n── RunAgent ────────────────────────────────────────────────────────\n");
  say(`> ${QUESTION}\n`);
  const events = client.runAgent(
    {
      chat: {
        messages: [{ role: Role.USER, text: QUESTION }],
        tools: ["inventory_get_stock", "inventory_list_warehouses"].map((value) => ({
          kind: { case: "registeredTool", value },
        })),
      },
      budget: { maxTurns: 5 },
    },
    { timeoutMs: 60_000 },
  );
  const names = new Map<string, string>();
  for await (const { event } of events) {
    if (event === undefined) continue;
    const { case: kind, value } = event.event;
    switch (kind) {
      case "messageEvent": {
        const { event: part } = value;
        if (part.case === "contentBlockDelta" && part.value.delta.case === "text") say(part.value.delta.value);
        if (part.case === "messageStop") say("\n");
        break;
      }
      case "toolCallStarted":
        names.set(value.toolUseId, value.name);
        say(`  → ${value.name} ${value.inputJson}\n`);
        break;
      case "toolCallFinished": {
        const took = value.duration === undefined ? 0 : durationMs(value.duration);
        const failed = value.status === undefined ? "" : " failed:";
        say(`  ← ${names.get(value.toolUseId)} after ${took} ms:${failed} ${value.result?.text}\n`);
        break;
      }
      case "runFinished": {
        const { state = 0, turns = 0, toolCalls = 0, usage } = value.run ?? {};
        say(`  ${RunState[state]}: ${turns} turns, ${toolCalls} tool calls in parallel, `);
        say(`${usage?.inputTokens ?? 0} tokens in and ${usage?.outputTokens ?? 0} out\n`);
        break;
      }
    }
  }
}
