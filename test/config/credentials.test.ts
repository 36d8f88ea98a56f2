import assert from "node:assert/strict";
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { secretFile } from "../../src/config/secret.ts";
import { failureOf } from "../support/details.ts";
import { startService } from "../support/service.ts";

const request = { messages: [{ role: Role.USER, text: "hello" }] };
const folder = mkdtempSync(join(tmpdir(), "parley-credentials-"));
after(() => rmSync(folder, { recursive: true }));

describe("a key in a file", () => {
  test("is read anew when the file has changed, and the next call uses it", async () => {
    let now = 0;
    const path = join(folder, "key");
    writeFileSync(path, "sk-old\n");
    const credential = { kind: "apiKey" as const, apiKey: secretFile(path, () => now) };
    await using service = await startService({ config: { credential }, simulator: { acceptedKeys: ["sk-old"] } });
    await service.chat.chat(request);
    writeFileSync(path, "sk-brand-new\n");
    service.simulator.setAcceptedKeys(["sk-brand-new"]);
    now += 1_000;
    await service.chat.chat(request);
  });

  test("is read anew when Kubernetes turns the link to it", async () => {
    let now = 0;
    writeFileSync(join(folder, "a"), "sk-aaa");
    writeFileSync(join(folder, "b"), "sk-bbb");
    const link = join(folder, "link");
    symlinkSync("a", link);
    const secret = secretFile(link, () => now);
    assert.equal(await secret.read(), "sk-aaa");
    symlinkSync("b", `${link}.new`);
    renameSync(`${link}.new`, link);
    assert.equal(await secret.read(), "sk-aaa", "it is looked at once a second");
    now += 1_000;
    assert.equal(await secret.read(), "sk-bbb");
  });

  test("that is gone makes calls fail as UNAVAILABLE, and is no word of the file to the caller", async () => {
    const credential = { kind: "apiKey" as const, apiKey: secretFile(join(folder, "missing")) };
    await using service = await startService({ config: { credential, claude: { retry: { maxAttempts: 1 } } } });
    const told = await failureOf(service.chat.chat(request));
    assert.equal(told.code, "Unavailable");
    assert.equal(told.errorInfo?.reason, "UPSTREAM_CREDENTIAL_UNAVAILABLE");
    assert.ok(!told.message.includes(folder));
  });
});

describe("workload identity federation", () => {
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwYXJsZXkifQ.x");
  const credential = {
    kind: "federation" as const,
    ruleId: "fdrl_1",
    organizationId: "00000000-0000-4000-8000-000000000000",
    serviceAccountId: undefined,
    workspaceId: undefined,
    identityTokenFile: tokenFile,
  };

  test("exchanges the token of the platform for one of Claude's, once for many calls", async () => {
    await using service = await startService({ config: { credential }, simulator: { acceptedKeys: [] } });
    await Promise.all(Array.from({ length: 5 }, () => service.chat.chat(request)));
    const exchanges = service.simulator.requests.filter(({ path }) => path === "/v1/oauth/token");
    assert.equal(exchanges.length, 1);
    const asked = service.simulator.requests.find(({ path }) => path === "/v1/messages");
    assert.match(asked?.headers.authorization ?? "", /^Bearer (?!eyJ)/);
  });

  test("exchanges it again when Claude refuses the token that it got", async () => {
    const refused = { status: 401, error: { type: "authentication_error", message: "token revoked" } };
    const steps = [{ respond: refused }, { respond: { content: [{ text: "ok" }] } }];
    await using service = await startService({
      config: { credential },
      simulator: { acceptedKeys: [] },
      script: { steps },
    });
    await service.chat.chat(request);
    const exchanges = service.simulator.requests.filter(({ path }) => path === "/v1/oauth/token");
    assert.equal(exchanges.length, 2);
  });

  test("that is refused twice is the operator's business", async () => {
    const refused = { status: 401, error: { type: "authentication_error", message: "no" } };
    await using service = await startService({
      config: { credential },
      simulator: { acceptedKeys: [] },
      script: { steps: [{ times: 2, respond: refused }] },
    });
    assert.equal((await failureOf(service.chat.chat(request))).code, "Internal");
  });

  test("that cannot exchange makes calls fail as UNAVAILABLE, and recovers", async () => {
    const broken = {
      expect: { path: "/v1/oauth/token" },
      respond: { status: 503, error: { type: "api_error", message: "" } },
    };
    await using service = await startService({
      config: { credential, claude: { retry: { maxAttempts: 1 } } },
      simulator: { acceptedKeys: [] },
      script: { steps: [broken], afterwards: "converse" },
    });
    const told = await failureOf(service.chat.chat(request));
    assert.equal(told.errorInfo?.reason, "UPSTREAM_CREDENTIAL_UNAVAILABLE");
    assert.ok(service.logs.some(({ alert }) => alert === "credential_unavailable"));
    await service.chat.chat(request);
  });

  for (const [name, transport] of Object.entries({ gRPC: createGrpcTransport, Connect: createConnectTransport })) {
    test(`that hangs holds no call past its deadline, over ${name}`, async () => {
      const hanging = { expect: { path: "/v1/oauth/token" }, respond: { status: 503 }, gate: "never" };
      await using service = await startService({
        // No other timeout ends the call: the exchange itself may take a minute.
        config: { credential, defaultTimeout: 300 },
        simulator: { acceptedKeys: [] },
        script: { steps: [hanging] },
      });
      const client = createClient(ChatService, transport({ baseUrl: service.url, httpVersion: "2" }));
      const told = await failureOf(client.chat(request));
      assert.equal(told.code, "DeadlineExceeded");
      assert.equal((await service.nextCall()).code, "DEADLINE_EXCEEDED");
    });
  }
});
