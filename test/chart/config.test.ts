import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { type Config, loadConfig } from "../../src/config/config.ts";
import { render, valuesFile, valuesNames } from "./helm.ts";
import { mount } from "./mounted.ts";
import { missingTools } from "./tools.ts";

/** Variables that values files take from Secrets of others. */
const SECRETS = {
  HTTPS_PROXY: "http://parley:secret@proxy.example:3128",
  OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20secret",
};

async function configOf(values: object | string): Promise<Config> {
  using mounted = mount(await render(values), SECRETS);
  return loadConfig(mounted.env);
}

describe("what the chart sets", { skip: missingTools, concurrency: 2 }, () => {
  for (const name of valuesNames) {
    test(`is what the service understands: ${name}`, async () => {
      const config = await configOf(valuesFile(name));
      assert.deepEqual(config.ineffective, []);
      assert.deepEqual([config.port, config.adminPort], [8_080, 9_090]);
      const { shutdown, config: own = {} } = parse(readFileSync(valuesFile(name), "utf8"));
      assert.equal(config.server.drain, (shutdown?.drainSeconds ?? 120) * 1_000);
      assert.equal(config.server.lameDuck, (shutdown?.lameDuckSeconds ?? 5) * 1_000);
      assert.equal(config.tools.grpc.length, own.tools?.grpc?.length ?? 0);
    });
  }

  test("has a place of its own for each value of Claude", async () => {
    const config = await configOf({
      claude: {
        existingSecret: "claude",
        baseUrl: "https://claude.example",
        model: "claude-haiku-5-5",
        maxTokens: 1_000_000,
        timeoutSeconds: 86_400,
        workspaceId: "wrkspc_1",
      },
      logLevel: "warn",
    });
    assert.equal(config.baseUrl, "https://claude.example");
    assert.equal(config.claude.model, "claude-haiku-5-5");
    assert.equal(config.claude.maxTokens, 1_000_000);
    assert.equal(config.claude.workspaceId, "wrkspc_1");
    assert.equal(config.defaultTimeout, 86_400_000);
    assert.equal(config.logLevel, "warn");
  });

  test("leaves to the configuration file what has no value", async () => {
    const config = await configOf({ config: { claude: { model: "claude-haiku-5-5", maxTokens: 123 } } });
    assert.equal(config.claude.model, "claude-haiku-5-5");
    assert.equal(config.claude.maxTokens, 123);
  });

  test("reaches numbers and prices as they were written", async () => {
    const config = await configOf(valuesFile("configuration"));
    assert.equal(config.runs.caps.outputTokens, 25_000_000);
    assert.equal(config.runs.caps.costUsd, 2.5);
    assert.deepEqual(config.server.corsOrigins, ["https://app.shop.example"]);
  });

  test("is the identity that Claude is shown with federation", async () => {
    const { credential } = await configOf(valuesFile("federation"));
    assert.ok(credential.kind === "federation");
    assert.equal(credential.ruleId, "fdrl_shop");
    assert.equal(credential.serviceAccountId, "svac_shop");
  });

  test("is the key itself, where the values have it", async () => {
    using mounted = mount(await render({ claude: { apiKey: "sk-ant-of-values" } }));
    const { credential } = loadConfig(mounted.env);
    assert.ok(credential.kind === "apiKey");
    assert.equal(await credential.apiKey.read(), "sk-ant-of-values");
  });

  test("tells telemetry which pod it comes from", async () => {
    using mounted = mount(await render(valuesFile("telemetry")), SECRETS);
    const config = loadConfig(mounted.env);
    assert.ok(config.telemetry.traces);
    assert.equal(config.telemetry.otlpMetrics?.protocol, "http/protobuf");
    assert.equal(config.telemetry.serviceName, "shop-parley");
    assert.equal(mounted.env.OTEL_TRACES_SAMPLER_ARG, "0.01");
    assert.deepEqual(mounted.env.OTEL_RESOURCE_ATTRIBUTES?.split(","), [
      "k8s.namespace.name=shop",
      "k8s.pod.name=metadata.name",
      "k8s.node.name=spec.nodeName",
      "service.instance.id=metadata.name",
      "deployment.environment.name=production",
      "service.namespace=shop",
    ]);
  });
});
