import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Simulator, type SimulatorOptions } from "../../src/simulator/simulator.ts";
import { type ServiceProcess, startCommand, startServiceProcess } from "../support/process.ts";
import { trust } from "../support/tls.ts";
import { type Manifest, type Manifests, render } from "./helm.ts";
import { mount } from "./mounted.ts";
import { missingTools } from "./tools.ts";

const KEY = "sk-ant-of-the-chart";

interface Deployed extends AsyncDisposable {
  readonly manifests: Manifests;
  readonly simulator: Simulator;
  readonly service: ServiceProcess;
}

/** Runs the service as the deployment would, with the simulator as Claude, and on ports that are free. */
async function deploy(values: object = {}, simulated: SimulatorOptions = {}): Promise<Deployed> {
  await using starting = new AsyncDisposableStack();
  const simulator = starting.use(await createSimulator({ pacing: "instant", acceptedKeys: [KEY], ...simulated }));
  const manifests = await render({ claude: { apiKey: KEY, baseUrl: simulator.url }, ...values });
  const mounted = starting.use(mount(manifests));
  const own = { ANTHROPIC_API_KEY: "", PORT: "0", ADMIN_PORT: "0" };
  const service = starting.use(await startServiceProcess({ ...mounted.env, ...own }));
  const running = starting.move();
  return { manifests, simulator, service, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Runs what the pod of `helm test` runs, and gives what it says. */
async function helmTest({ manifests }: Deployed, url: string) {
  const { containers, volumes } = manifests.one("Pod").spec;
  const { command, args, env, volumeMounts } = containers[0];
  assert.equal(command[0], "node");
  const given = Object.fromEntries(env.map(({ name, value }: { name: string; value: string }) => [name, value]));
  assert.match(given.URL, /^https?:\/\/parley\.shop\.svc:8080$/);
  if (given.NODE_EXTRA_CA_CERTS !== undefined) {
    const { mountPath } = volumeMounts[0];
    assert.equal(given.NODE_EXTRA_CA_CERTS, `${mountPath}/${volumes[0].secret.items[0].path}`);
    given.NODE_EXTRA_CA_CERTS = join(import.meta.dirname, "../support/test-certificates/authority.pem");
  }
  await using test = startCommand(process.execPath, [...command.slice(1), ...args], { ...given, URL: url });
  let output = "";
  test.child.stdout?.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  return { code: await test.exit, output, errors: test.errors() };
}

describe("the service as the chart deploys it", { skip: missingTools, concurrency: 2 }, () => {
  test("answers a call", async () => {
    await using deployed = await deploy();
    const { chat } = createClient(ChatService, createGrpcTransport({ baseUrl: deployed.service.url }));
    // The simulator takes no other key.
    const { model } = await chat({ messages: [{ role: Role.USER, text: "hello" }] });
    assert.equal(model, "claude-sonnet-5-5");
  });

  test("speaks TLS with the certificate in the Secret", async () => {
    await using deployed = await deploy({ tls: { secretName: "parley-tls" } });
    const baseUrl = deployed.service.url.replace("http:", "https:");
    const { chat } = createClient(ChatService, createGrpcTransport({ baseUrl, nodeOptions: trust }));
    assert.ok(await chat({ messages: [{ role: Role.USER, text: "hello" }] }));
  });

  test("is ready and alive at the paths of the probes", async () => {
    await using deployed = await deploy({ tls: { secretName: "parley-tls" } });
    const { startupProbe, readinessProbe, livenessProbe } = deployed.manifests.container;
    for (const { httpGet } of [startupProbe, readinessProbe, livenessProbe]) {
      const { status } = await fetch(`${deployed.service.adminUrl}${httpGet.path}`);
      assert.equal(status, 200, httpGet.path);
    }
  });

  test("ends with 0 at SIGTERM", async () => {
    await using deployed = await deploy({ shutdown: { preStopSeconds: 0, lameDuckSeconds: 0, drainSeconds: 1 } });
    deployed.service.child.kill("SIGTERM");
    assert.equal(await deployed.service.exit, 0);
  });
});

describe("the pod of helm test", { skip: missingTools, concurrency: 2 }, () => {
  test("counts tokens and has Claude answer, cheaply", async () => {
    await using deployed = await deploy();
    const { code, output, errors } = await helmTest(deployed, deployed.service.url);
    assert.equal(errors, "");
    assert.equal(code, 0);
    assert.match(output, /^CountTokens: the message has \d+ tokens\nChat: claude-sonnet-5-5 has answered \(/);
    const asked = deployed.simulator.requests.map(({ path, body }) => [path, (body as Manifest).max_tokens]);
    assert.deepEqual(asked, [
      ["/v1/messages/count_tokens", undefined],
      ["/v1/messages", 16],
    ]);
  });

  test("asks the model that it is told to", async () => {
    await using deployed = await deploy({ test: { model: "claude-haiku-5-5" } });
    const { code, output } = await helmTest(deployed, deployed.service.url);
    assert.equal(code, 0);
    assert.match(output, /Chat: claude-haiku-5-5 has answered/);
  });

  test("trusts the authority of the service's certificate", async () => {
    await using deployed = await deploy({ tls: { secretName: "parley-tls" } });
    const { code, errors } = await helmTest(deployed, deployed.service.url.replace("http:", "https:"));
    assert.equal(code, 0, errors);
  });

  test("fails, and says why, when Claude refuses the credential", async () => {
    await using deployed = await deploy({}, { acceptedKeys: ["sk-ant-another"] });
    const { code, output, errors } = await helmTest(deployed, deployed.service.url);
    assert.equal(code, 1);
    assert.equal(output, "");
    assert.match(errors, /^CountTokens: internal AUTHENTICATION_ERROR: /);
  });

  test("fails when nobody answers", async () => {
    await using deployed = await deploy();
    deployed.service.child.kill("SIGKILL");
    await deployed.service.exit;
    const { code, errors } = await helmTest(deployed, deployed.service.url);
    assert.equal(code, 1);
    assert.match(errors, /^CountTokens: http:.+ gives no answer: ECONNREFUSED\n$/);
  });

  test("fails when another than the service answers", async () => {
    await using deployed = await deploy();
    await using other = createServer((_, response) => response.writeHead(502).end("<html>")).listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const { code, errors } = await helmTest(deployed, `http://127.0.0.1:${port}`);
    assert.equal(code, 1);
    assert.match(errors, /^CountTokens: http:.+ answers with status 502, and not as Parley would\n$/);
  });
});
