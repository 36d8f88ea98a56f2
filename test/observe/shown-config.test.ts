import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { shownConfig } from "../../src/admin/shown-config.ts";
import { type Config, loadConfig } from "../../src/config/config.ts";
import { startService } from "../support/service.ts";

const folder = mkdtempSync(join(tmpdir(), "parley-shown-"));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, "parley.yaml");

/** Begins every text that is a secret. */
const SECRET = "canary";

/** Has a secret wherever there can be one, and something in all the rest that may be set. */
const everything = `
claude:
  model: claude-opus-5-5
  fallbackModels: [claude-haiku-5-5]
  allowedBetas: [a-beta]
  allowedExtraParams: [speed]
  workspaceId: wrkspc_1
tools:
  grpc:
    - name: inventory
      target: dns://canary-user:canary-password@resolver/inventory:8080
      tls: { serverName: inventory.example }
      forwardHeaders: [authorization]
      methods:
        - { name: a.v1.A/Get, tool: get_it, description: Gets it., approval: true }
  mcp:
    - name: tickets
      url: https://canary-user:canary-password@tickets.example:8443/canary-path?key=canary-query#canary-fragment
      headers: { x-api-key: canary-header, constructor: canary-constructor }
      headerFiles: { authorization: /var/run/secrets/tickets }
      tools: [search]
      approval: [search]
    - name: files
      command: [node, --token=canary-argument, canary-argument]
      env: { TOKEN: canary-env, toString: canary-method }
  descriptors: [images/more.binpb]
prices:
  claude-opus-5-5: { input: 1, output: 5 }
  claude-haiku-5-5: [{ input: 1, output: 5 }, { from: 2026-10-01, input: 2, output: 6 }]
server:
  host: 127.0.0.1
  corsOrigins: [https://app.example]
runs:
  caps: { costUsd: 5 }
`;

const env = {
  ANTHROPIC_API_KEY: "canary-key",
  ANTHROPIC_BASE_URL: "https://claude.example/canary-base-path",
  HTTP_PROXY: "http://canary-user:canary-password@proxy:3128",
  HTTPS_PROXY: "http://canary-user:canary-password@proxy:3129/?canary-query",
  NO_PROXY: "localhost",
  PARLEY_CONFIG: path,
  PARLEY_STORE: "postgres://canary-user:canary-password@db",
  PARLEY_QUOTA: "redis://canary-user:canary-password@redis",
};

function load(text: string, more: NodeJS.Dict<string> = {}): Config {
  writeFileSync(path, text);
  return loadConfig({ ...env, ...more });
}

/** Paths of what is masked, with a mask in it or as a whole. */
function maskedPaths(value: unknown, name = ""): string[] {
  if (typeof value === "string") return value.includes("***") ? [name] : [];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, member]) => maskedPaths(member, name === "" ? key : `${name}.${key}`));
}

describe("the configuration that is shown", () => {
  test("has no secret in it, wherever the configuration has one", () => {
    const config = load(everything);
    assert.ok(JSON.stringify(config).includes("canary-header"));
    const text = JSON.stringify(shownConfig(config));
    assert.ok(!text.includes(SECRET), text);
  });

  test("masks what can be a secret, and nothing else", () => {
    const shown = JSON.parse(JSON.stringify(shownConfig(load(everything))));
    assert.deepEqual(maskedPaths(shown).sort(), [
      "baseUrl",
      "credential.apiKey",
      "proxy.httpProxy",
      "proxy.httpsProxy",
      "tools.grpc.0.target",
      "tools.mcp.0.headers.constructor",
      "tools.mcp.0.headers.x-api-key",
      "tools.mcp.0.url",
      "tools.mcp.1.command.1",
      "tools.mcp.1.command.2",
      "tools.mcp.1.env.TOKEN",
      "tools.mcp.1.env.toString",
    ]);
    assert.equal(shown.baseUrl, "https://claude.example/***");
    assert.equal(shown.proxy.httpProxy, "http://proxy:3128/***");
    assert.equal(shown.tools.grpc[0].target, "dns://***@resolver/inventory:8080");
    assert.equal(shown.tools.mcp[0].url, "https://tickets.example:8443/***");
    assert.deepEqual(shown.ineffective, ["PARLEY_QUOTA", "PARLEY_STORE"]);
  });

  test("masks in the defaults nothing but the key", () => {
    const config = loadConfig({ ANTHROPIC_API_KEY: "canary-key" });
    const shown = JSON.parse(JSON.stringify(shownConfig(config)));
    assert.deepEqual(shown, JSON.parse(JSON.stringify({ ...config, credential: { kind: "apiKey", apiKey: "***" } })));
  });

  test("names a federation by its identifiers and the file of its token", () => {
    const token = join(folder, "token");
    writeFileSync(token, "canary-token");
    const credential = {
      ANTHROPIC_FEDERATION_RULE_ID: "fdrl_1",
      ANTHROPIC_ORGANIZATION_ID: "org_1",
      ANTHROPIC_IDENTITY_TOKEN_FILE: token,
    };
    const shown = shownConfig(load("", { ANTHROPIC_API_KEY: "", ...credential })) as { credential: object };
    assert.deepEqual(JSON.parse(JSON.stringify(shown.credential)), {
      kind: "federation",
      ruleId: "fdrl_1",
      organizationId: "org_1",
      identityTokenFile: token,
    });
  });

  test("masks what nobody has thought of", () => {
    const config = load(everything);
    const extended = {
      ...config,
      token: "canary-text",
      callers: { "canary-name": { requests: 1 } },
      keys: ["canary-item"],
      claude: { ...config.claude, model: { name: "canary-object" }, secret: "canary-member", big: 1n },
      tools: { ...config.tools, local: [{ name: "canary-object" }] },
    };
    const shown = shownConfig(extended as never) as { claude: object; callers: unknown };
    assert.ok(!JSON.stringify(shown).includes(SECRET), JSON.stringify(shown));
    assert.equal(shown.callers, "***");
  });

  test("is told by the admin port", async () => {
    const tools = { mcp: [] };
    const proxy = { httpProxy: "http://canary-user:canary-password@proxy", httpsProxy: "", noProxy: "127.0.0.1" };
    await using service = await startService({ config: { proxy, tools, claude: { maxTokens: 77 } } });
    const text = await (await fetch(`${service.adminUrl}/debug/config`)).text();
    for (const secret of [SECRET, "sk-test"]) assert.ok(!text.includes(secret), text);
    const shown = JSON.parse(text) as { claude: { maxTokens: number }; proxy: object };
    assert.equal(shown.claude.maxTokens, 77);
    assert.deepEqual(shown.proxy, { httpProxy: "http://proxy/***", httpsProxy: "", noProxy: "127.0.0.1" });
  });
});
