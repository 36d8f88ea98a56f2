import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { createSimulator } from "../../src/simulator/simulator.ts";
import { startServiceProcess } from "../support/process.ts";
import { certificate } from "../support/tls.ts";
import { notes, render } from "./helm.ts";
import { mount } from "./mounted.ts";
import { missingTools } from "./tools.ts";

const TOOLS = join(import.meta.dirname, "../../node_modules/.bin");

describe("what helm says after it has installed the chart", { skip: missingTools, concurrency: 2 }, () => {
  for (const [name, tls] of [
    ["no TLS", {}],
    ["TLS", { secretName: "parley-tls" }],
    ["client certificates", { secretName: "parley-tls", clientCertificates: true }],
  ] as const) {
    test(`has a command that calls the service with ${name}`, async () => {
      await using simulator = await createSimulator({ pacing: "instant" });
      const values = { claude: { apiKey: "sk-ant-of-the-chart", baseUrl: simulator.url }, tls };
      using mounted = mount(await render(values));
      const own = { ANTHROPIC_API_KEY: "", PORT: "0", ADMIN_PORT: "0" };
      await using service = await startServiceProcess({ ...mounted.env, ...own });
      const { stopReason } = await callByHand(await notes(values), new URL(service.url).host);
      assert.equal(stopReason, "STOP_REASON_END_TURN");
    });
  }

  test("warns of what is not as it should be in production", async () => {
    assert.doesNotMatch(await notes(), /WARNING/);
    const risky = { claude: { apiKey: "k" }, replicas: 1, networkPolicy: { enabled: false } };
    assert.equal((await notes(risky)).match(/WARNING/g)?.length, 3);
  });
});

/** Runs the command, with the service where kubectl would have brought it, and with the files that it wants. */
async function callByHand(said: string, host: string): Promise<{ stopReason: string }> {
  const [command = ""] = said.match(/buf curl .+?ChatService\/Chat/s) ?? [];
  const folder = mkdtempSync(join(tmpdir(), "parley-notes-"));
  try {
    writeFileSync(join(folder, "ca.crt"), certificate("authority").cert);
    writeFileSync(join(folder, "client.crt"), certificate("client").cert);
    writeFileSync(join(folder, "client.key"), certificate("client").key);
    // The certificate of the tests has no name of a service in a cluster.
    const here = command.replace("localhost:8080", host).replace("parley.shop.svc", "localhost");
    const env = { PATH: [TOOLS, process.env.PATH].join(delimiter), HOME: folder };
    const { stdout } = await promisify(execFile)("bash", ["-c", here], { cwd: folder, env });
    return JSON.parse(stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
