import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import Anthropic from "@anthropic-ai/sdk";
import { oidcFederationProvider } from "@anthropic-ai/sdk/lib/credentials/oidc-federation.js";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { connect, HEADERS, type Json, post, request } from "./client.ts";

let simulator: Simulator;
before(async () => {
  simulator = await createSimulator({ pacing: "instant" });
});
after(() => simulator[Symbol.asyncDispose]());

const get = async (path: string) => {
  const response = await fetch(simulator.url + path, { headers: HEADERS });
  return {
    status: response.status,
    body: (await response.json()) as Json & { data: { id: string; lifecycle: string }[] },
  };
};

describe("models", () => {
  test("are listed newest first, in pages that the SDK can walk through", async () => {
    const ids: string[] = [];
    for await (const model of connect(simulator).models.list({ limit: 3 })) ids.push(model.id);
    assert.ok(ids.indexOf("claude-opus-5-5") < ids.indexOf("claude-opus-5"));
    assert.equal(new Set(ids).size, ids.length);
    assert.deepEqual(
      ids,
      (await get("/v1/models?limit=1000")).body.data.map((model) => model.id),
    );
  });

  test("are paged backwards too", async () => {
    const { body: all } = await get("/v1/models");
    const ids = all.data.map((model) => model.id);
    const { body } = await get(`/v1/models?limit=2&before_id=${ids[3]}`);
    assert.deepEqual(
      body.data.map((model) => model.id),
      ids.slice(1, 3),
    );
    assert.deepEqual([body.has_more, body.first_id, body.last_id], [true, ids[1], ids[2]]);
  });

  test("are filtered by their lifecycle; retired ones only on request", async () => {
    const lifecycles = async (query: string) =>
      new Set((await get(`/v1/models${query}`)).body.data.map((model) => model.lifecycle));
    assert.deepEqual(await lifecycles(""), new Set(["active", "deprecated"]));
    assert.deepEqual(await lifecycles("?lifecycle[]=retired"), new Set(["retired"]));
    const client = connect(simulator);
    const page = await client.models.list({ lifecycle: ["retired", "deprecated"] });
    assert.deepEqual(new Set(page.data.map((model) => model.lifecycle)), new Set(["retired", "deprecated"]));
  });

  test("are found by identifier and by alias", async () => {
    const model = await connect(simulator).models.retrieve("claude-haiku-4-5");
    assert.equal(model.id, "claude-haiku-4-5-20251001");
    assert.equal(model.max_tokens, 64_000);
    assert.equal(model.capabilities?.thinking.types.adaptive.supported, false);
    assert.equal(model.capabilities?.effort.supported, false);
    const { capabilities } = await connect(simulator).models.retrieve("claude-sonnet-5-5");
    assert.equal(capabilities?.thinking.types.between_tools.supported, true);
    assert.equal(capabilities?.effort.xhigh?.supported, true);
  });

  const refused: [path: string, status: number, message: string][] = [
    ["/v1/models/claude-2", 404, "model: claude-2"],
    ["/v1/models?limit=0", 400, "limit: Input should be an integer from 1 to 1000"],
    ["/v1/models?limit=many", 400, "limit: Input should be an integer from 1 to 1000"],
    ["/v1/models?after_id=x", 400, "after_id: 'x' is not in the list"],
    ["/v1/models?after_id=x&before_id=y", 400, "after_id: cannot be combined with before_id"],
    ["/v1/models?lifecycle[]=young", 400, "lifecycle.0: Input should be 'active', 'deprecated' or 'retired'"],
  ];
  for (const [path, status, message] of refused) {
    test(`${path} is refused`, async () => {
      const { status: got, body } = await get(path);
      assert.equal(got, status);
      assert.equal((body.error as Json).message, message);
    });
  }
});

const JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0ZXN0In0.c2ln";
const GRANT = {
  grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
  assertion: JWT,
  federation_rule_id: "fdrl_1",
  organization_id: "org_1",
};
const exchange = (to: Simulator, body: unknown, betas = "oauth-2025-04-20,oidc-federation-2026-04-01") =>
  fetch(`${to.url}/v1/oauth/token`, {
    method: "POST",
    headers: { "content-type": "application/json", "anthropic-beta": betas },
    body: JSON.stringify(body),
  });

describe("workload identities", () => {
  test("get an access token that the SDK then uses", async () => {
    await using strict = await createSimulator({ pacing: "instant", acceptedKeys: [] });
    const client = new Anthropic({
      baseURL: strict.url,
      maxRetries: 0,
      credentials: oidcFederationProvider({
        identityTokenProvider: () => JWT,
        federationRuleId: "fdrl_1",
        organizationId: "org_1",
        baseURL: strict.url,
        fetch,
      }),
    });
    await client.messages.create({
      model: "claude-opus-5-5",
      max_tokens: 10,
      messages: [{ role: "user", content: "Hi" }],
    });
    assert.deepEqual(
      strict.requests.map(({ path }) => path),
      ["/v1/oauth/token", "/v1/messages"],
    );
  });

  test("lose it when it expires", async () => {
    let now = 0;
    await using strict = await createSimulator({
      pacing: "instant",
      acceptedKeys: [],
      accessTokenSeconds: 60,
      now: () => now,
    });
    const token = (await (await exchange(strict, GRANT)).json()) as {
      access_token: string;
      expires_in: number;
      token_type: string;
    };
    assert.deepEqual([token.expires_in, token.token_type], [60, "Bearer"]);
    const use = (betas: string) =>
      fetch(`${strict.url}/v1/messages`, {
        method: "POST",
        headers: { ...HEADERS, authorization: `Bearer ${token.access_token}`, "anthropic-beta": betas },
        body: JSON.stringify(request()),
      });
    assert.equal((await use("oauth-2025-04-20")).status, 200);
    assert.equal((await use("another-beta")).status, 401);
    now = 60_000;
    const expired = await use("oauth-2025-04-20");
    assert.equal(expired.status, 401);
    assert.match(await expired.text(), /OAuth token has expired/);
  });

  const refused: [name: string, body: unknown, error: string][] = [
    ["another grant", { ...GRANT, grant_type: "refresh_token" }, "unsupported_grant_type"],
    ["no assertion", { ...GRANT, assertion: undefined }, "invalid_request"],
    ["an assertion that is no JWT", { ...GRANT, assertion: "token" }, "invalid_grant"],
    ["an assertion over 16 KiB", { ...GRANT, assertion: `a.b.${"c".repeat(16 * 1024)}` }, "invalid_grant"],
    ["no rule", { ...GRANT, federation_rule_id: undefined }, "invalid_request"],
    ["an unknown member", { ...GRANT, scope: "all" }, "invalid_request"],
  ];
  for (const [name, body, error] of refused) {
    test(`are refused with ${name}`, async () => {
      const response = await exchange(simulator, body);
      assert.equal(response.status, 400);
      assert.equal(((await response.json()) as Json).error, error);
    });
  }

  test("are refused without the beta", async () => {
    assert.equal((await exchange(simulator, GRANT, "oauth-2025-04-20")).status, 400);
  });
});

describe("keys", () => {
  test("can be changed while the simulator runs", async () => {
    await using strict = await createSimulator({ pacing: "instant", acceptedKeys: ["other"] });
    assert.equal((await post(strict, request())).status, 401);
    strict.setAcceptedKeys(["test-key"]);
    assert.equal((await post(strict, request())).status, 200);
    strict.setAcceptedKeys(undefined);
    assert.equal((await post(strict, request())).status, 200);
  });
});

describe("records", () => {
  test("hold every request that arrived, whatever became of it", async () => {
    await using fresh = await createSimulator({ pacing: "instant" });
    const lines: string[] = [];
    await using logging = await createSimulator({ pacing: "instant", log: (line) => lines.push(line) });
    await post(fresh, request());
    await fetch(`${fresh.url}/v1/models?limit=1`, { headers: HEADERS });
    await fetch(`${fresh.url}/nowhere`);
    const first = await fresh.nextRequest();
    assert.equal(first.method, "POST");
    assert.equal(first.headers.authorization, "Bearer test-key");
    assert.deepEqual(JSON.parse(first.bodyText), request());
    assert.deepEqual(first.body, request());
    const { how, at } = await first.ended;
    assert.equal(how, "completed");
    assert.ok(at >= first.receivedAt);
    assert.deepEqual([(await fresh.nextRequest()).path, (await fresh.nextRequest()).path], ["/v1/models", "/nowhere"]);
    assert.equal(fresh.requests.length, 3);
    await (await post(logging, request())).text();
    await (await logging.nextRequest()).ended;
    await nextTurn();
    assert.match(lines[0] ?? "", /^POST \/v1\/messages 200 completed, events: 1, ms: \d+, req_/);
  });

  test("come to whoever waits for the next one", async () => {
    await using fresh = await createSimulator({ pacing: "instant" });
    const next = fresh.nextRequest();
    await post(fresh, request());
    assert.equal((await next).path, "/v1/messages");
  });
});
