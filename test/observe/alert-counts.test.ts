import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { failureOf } from "../support/details.ts";
import { type Service, startService } from "../support/service.ts";

const chat = { messages: [{ role: Role.USER, text: "hello" }] };

async function rejected({ adminUrl }: Service): Promise<number> {
  const scrape = await (await fetch(`${adminUrl}/metrics`)).text();
  return Number(/^parley_alerts_total\{parley_alert="credential_rejected"\} (\d+)$/m.exec(scrape)?.[1]);
}

describe("a failure that the operator must mend is counted once", () => {
  const script = { steps: [{ respond: { status: 401 } }] };

  test("when a call has it", async () => {
    await using service = await startService({ script });
    assert.equal(await rejected(service), 0);
    await failureOf(service.chat.chat(chat));
    await service.line(({ msg }) => msg === "call");
    assert.equal(await rejected(service), 1);
  });

  test("when a run has it, and its caller is told", async () => {
    await using service = await startService({ script });
    await failureOf(service.client(AgentService).runAgent({ chat }));
    await service.line(({ msg }) => msg === "call");
    assert.equal(await rejected(service), 1);
  });

  test("when a run has it that nobody is attached to", async () => {
    await using service = await startService({ script });
    await service.client(AgentService).createRun({ run: { chat } });
    await service.line(({ msg }) => msg === "run");
    assert.equal(await rejected(service), 1);
  });
});
