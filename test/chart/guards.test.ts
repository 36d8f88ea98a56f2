import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { refusal, render } from "./helm.ts";
import { missingTools } from "./tools.ts";

const mcp = (headers: object) => ({
  config: { tools: { mcp: [{ name: "tickets", url: "https://a.example", headers }] } },
});
const pdb = (podDisruptionBudget: object, more: object = {}) => ({ podDisruptionBudget, ...more });

/** Values that cannot work, with what is said about them. */
const REFUSED: Readonly<Record<string, readonly [values: object, problem: RegExp]>> = {
  "no credential": [{ claude: {} }, /^no credential for Claude: set claude\.existingSecret to .+ claude\.federation/],
  "a key and federation": [
    { claude: { apiKey: "k", federation: { enabled: true, ruleId: "r", organizationId: "o" } } },
    /^claude\.apiKey and claude\.federation are set: keep one of them/,
  ],
  "a Secret and federation": [
    { claude: { existingSecret: "s", federation: { enabled: true, ruleId: "r", organizationId: "o" } } },
    /^claude\.existingSecret and claude\.federation are set: keep one of them/,
  ],
  "a Secret and a secret store": [
    { claude: { existingSecret: "s", externalSecret: { enabled: true, storeName: "s", remoteKey: "k" } } },
    /^claude\.existingSecret and claude\.externalSecret are set: keep one of them/,
  ],
  "a secret store without a name": [
    { claude: { externalSecret: { enabled: true, remoteKey: "k" } } },
    /^claude\.externalSecret is enabled: set its storeName and its remoteKey$/,
  ],
  "a secret store without a secret": [
    { claude: { externalSecret: { enabled: true, storeName: "s" } } },
    /^claude\.externalSecret is enabled: set its storeName and its remoteKey$/,
  ],
  "federation without a rule": [
    { claude: { federation: { enabled: true, organizationId: "o" } } },
    /^claude\.federation is enabled: set its ruleId and its organizationId$/,
  ],
  "federation without an organization": [
    { claude: { federation: { enabled: true, ruleId: "r" } } },
    /^claude\.federation is enabled: set its ruleId and its organizationId$/,
  ],
  "less grace than a shutdown takes": [
    { terminationGracePeriodSeconds: 139 },
    /^terminationGracePeriodSeconds is 139, but a shutdown may take 140 \(preStopSeconds 5 \+ lameDuckSeconds 5 \+ drainSeconds 120 \+ 10\): leave it out, or lower/,
  ],
  "no grace at all": [{ terminationGracePeriodSeconds: 0 }, /^terminationGracePeriodSeconds is 0, but/],
  "a drain in the configuration": [
    { config: { server: { drain: "5m" } } },
    /^config\.server\.drain has a value of its own: set shutdown\.drainSeconds instead$/,
  ],
  "a lame duck in the configuration": [
    { config: { server: { lameDuck: "5m" } } },
    /^config\.server\.lameDuck .+ set shutdown\.lameDuckSeconds instead$/,
  ],
  "TLS in the configuration": [
    { config: { server: { tls: { certFile: "a", keyFile: "b" } } } },
    /^config\.server\.tls .+ set tls\.secretName instead$/,
  ],
  "a level of the log in the configuration": [
    { config: { logging: { level: "debug" } } },
    /^config\.logging\.level .+ set logLevel instead$/,
  ],
  "a model twice": [
    { claude: { existingSecret: "s", model: "a" }, config: { claude: { model: "b" } } },
    /^claude\.model and config\.claude\.model are both set: keep one of them$/,
  ],
  "client certificates without TLS": [
    { tls: { clientCertificates: true } },
    /^tls\.clientCertificates needs tls\.secretName$/,
  ],
  "a key of Claude in the configuration": [
    mcp({ "x-upstream": "sk-ant-secret" }),
    /^config has a key of Claude in it, and would be in a ConfigMap/,
  ],
  "a token in the configuration": [
    mcp({ Authorization: "Bearer secret" }),
    /^the header Authorization of the MCP server tickets would be in a ConfigMap: .+ headerFiles$/,
  ],
  "another port": [{ env: [{ name: "PORT", value: "9090" }] }, /^env sets PORT, .+ set service\.port instead$/],
  "a key in a variable": [
    { env: [{ name: "ANTHROPIC_API_KEY", value: "k" }] },
    /^env sets ANTHROPIC_API_KEY, .+ set claude\.existingSecret instead$/,
  ],
  "a model in a variable": [{ env: [{ name: "CLAUDE_MODEL", value: "m" }] }, /set claude\.model instead$/],
  "an endpoint in a variable that there is a value for": [
    { telemetry: { otlpEndpoint: "http://a:4317" }, env: [{ name: "OTEL_SERVICE_NAME", value: "a" }] },
    /^env sets OTEL_SERVICE_NAME, .+ set telemetry\.serviceName instead$/,
  ],
  "two autoscalers": [
    { autoscaling: { enabled: true }, keda: { enabled: true, prometheusAddress: "http://p:9090" } },
    /^autoscaling and keda are both enabled: keep one of them/,
  ],
  "more replicas at least than at most": [
    { autoscaling: { enabled: true, minReplicas: 5, maxReplicas: 4 } },
    /^autoscaling\.minReplicas is 5, which is more than maxReplicas, 4$/,
  ],
  "more replicas at least than at most, with KEDA": [
    { keda: { enabled: true, prometheusAddress: "http://p:9090", minReplicas: 11 } },
    /^keda\.minReplicas is 11, which is more than maxReplicas, 10$/,
  ],
  "an autoscaler that looks at nothing": [
    { autoscaling: { enabled: true, targetCpuPercent: 0 } },
    /^autoscaling looks at nothing: set autoscaling\.targetCpuPercent or autoscaling\.activeStreams\.target$/,
  ],
  "a ScaledObject that looks at nothing": [
    { keda: { enabled: true } },
    /^keda looks at nothing: set keda\.prometheusAddress or keda\.triggers$/,
  ],
  "a budget of as many as there are": [
    pdb({ minAvailable: 2 }),
    /^podDisruptionBudget\.minAvailable is 2 of 2 replicas: no node could ever be drained/,
  ],
  "a budget of all": [pdb({ minAvailable: "100%" }, { replicas: 5 }), /minAvailable is 100% of 5 replicas/],
  "a budget of all when rounded up": [pdb({ minAvailable: "51%" }), /minAvailable is 51% of 2 replicas/],
  "a budget of as many as an autoscaler leaves": [
    pdb({ minAvailable: 3 }, { replicas: 9, autoscaling: { enabled: true, minReplicas: 3 } }),
    /minAvailable is 3 of 3 replicas/,
  ],
  "a budget of as many as KEDA leaves": [
    pdb({ minAvailable: 2 }, { replicas: 9, keda: { enabled: true, prometheusAddress: "http://p:9090" } }),
    /minAvailable is 2 of 2 replicas/,
  ],
  "a budget that lets none go": [
    pdb({ maxUnavailable: "0%" }),
    /^podDisruptionBudget\.maxUnavailable is 0: no node could ever be drained$/,
  ],
  "a budget of nothing": [
    pdb({ maxUnavailable: null }),
    /^podDisruptionBudget is enabled: set its maxUnavailable or its minAvailable$/,
  ],
  "no room for a rollout": [{ maxSurge: 0 }, /^maxSurge is 0: .+ a rollout could never begin$/],
  "an alert that does not exist": [
    { prometheusRule: { enabled: true, disabled: ["ParleyAbsen"] } },
    /^prometheusRule\.disabled has ParleyAbsen, which is no alert/,
  ],
  "a name that no Service can have": [
    { fullnameOverride: "7.parley" },
    /^no Service can be named 7\.parley: set fullnameOverride to /,
  ],
  "an Ingress without a host": [{ ingress: { enabled: true } }, /^ingress is enabled: set ingress\.hosts/],
  "an Ingress that has no certificate to show": [
    { tls: { secretName: "t", clientCertificates: true }, ingress: { enabled: true, hosts: ["a.example"] } },
    /^ingress and tls\.clientCertificates are both enabled: .+ set nginx\.ingress\.kubernetes\.io\/proxy-ssl-secret in /,
  ],
  "a collector that cannot be reached": [
    { telemetry: { otlpEndpoint: "http://collector:4317" }, networkPolicy: { egress: { enabled: true } } },
    /^networkPolicy\.egress lets nobody reach telemetry\.otlpEndpoint, .+ to networkPolicy\.egress\.to$/,
  ],
  "an upstream that cannot be reached": [
    {
      claude: { existingSecret: "s", baseUrl: "https://claude.example:8443/v" },
      networkPolicy: { egress: { enabled: true } },
    },
    /^networkPolicy\.egress lets nobody reach claude\.baseUrl, /,
  ],
  "a route without a gateway": [{ grpcRoute: { enabled: true } }, /^grpcRoute is enabled: set grpcRoute\.parentRefs/],
};

/** Values that look much the same, and work. */
const TAKEN: Readonly<Record<string, object>> = {
  "a budget of half": pdb({ minAvailable: "50%" }),
  "a budget of one less": pdb({ minAvailable: 4 }, { replicas: 5 }),
  "a budget of nothing that is not made": pdb({ enabled: false, minAvailable: 9 }),
  "a header that is no secret": mcp({ "x-team": "search" }),
  "variables of OpenTelemetry where there is no value": { env: [{ name: "OTEL_SERVICE_NAME", value: "a" }] },
  "the rest of a section": { config: { server: { heartbeat: "10s" }, claude: { fallbackModels: [] } } },
  "sections with nothing in them": { config: { server: null, claude: null, tools: null, logging: null } },
  "no replica": { replicas: 0 },
  "an Ingress with a certificate to show": {
    tls: { secretName: "t", clientCertificates: true },
    ingress: {
      enabled: true,
      hosts: ["a.example"],
      annotations: { "nginx.ingress.kubernetes.io/proxy-ssl-secret": "shop/nginx" },
    },
  },
  "what is at port 443": {
    claude: { existingSecret: "s", baseUrl: "https://claude.example/v" },
    telemetry: { otlpEndpoint: "http://collector:443" },
    networkPolicy: { egress: { enabled: true } },
  },
  "what only the chart that this one is a part of makes use of": { global: { team: "search" }, enabled: true },
  "values with nothing in them": {
    config: null,
    files: null,
    env: null,
    commonLabels: null,
    podLabels: null,
    probes: { startup: null, readiness: null, liveness: null },
    topologySpreadConstraints: null,
    ingress: { enabled: true, hosts: ["a.example"], annotations: null },
    prometheusRule: { enabled: true, labels: null, disabled: null, alertLabels: null },
    networkPolicy: { callers: null, admin: null },
  },
};

/** What the schema refuses: what it says is Helm's. */
const AGAINST_SCHEMA: Readonly<Record<string, readonly [values: object, where: RegExp]>> = {
  "a value that does not exist": [{ replicaCount: 3 }, /'replicaCount' not allowed/],
  "a value that does not exist, further in": [{ claude: { key: "a" } }, /\/claude.+'key' not allowed/],
  "a text in the place of a number": [{ replicas: "3" }, /\/replicas/],
  "quotas in Redis": [{ quota: { backend: "redis://redis:6379" } }, /\/quota\/backend.+memory/],
  "runs in PostgreSQL": [{ store: { backend: "postgres://db" } }, /\/store\/backend.+memory/],
  "a digest that is none": [{ image: { digest: "sha256:1" } }, /\/image\/digest/],
  "a file from nowhere": [{ files: { a: {} } }, /\/files\/a/],
  "a file from two places": [{ files: { a: { secret: "a", configMap: "b" } } }, /\/files\/a/],
  "a name of files that no volume can have": [
    { files: { My_Files: { secret: "a" } } },
    /invalid propertyName 'My_Files'/,
  ],
  "members of a Service that have a value of their own": [
    { service: { spec: { type: "LoadBalancer" } } },
    /propertyName 'type'/,
  ],
  "an annotation that is no text": [{ podAnnotations: { "prometheus.io/scrape": true } }, /\/podAnnotations/],
  "an attribute that could not be decoded": [
    { telemetry: { resourceAttributes: { a: "50%" } } },
    /\/resourceAttributes\/a/,
  ],
  "an attribute that would be two": [{ telemetry: { resourceAttributes: { a: "b,c=d" } } }, /\/resourceAttributes\/a/],
};

describe("values that cannot work", { skip: missingTools, concurrency: 2 }, () => {
  for (const [name, [values, problem]] of Object.entries(REFUSED)) {
    test(`are refused, with what to do: ${name}`, async () => {
      const problems = await refusal(values);
      assert.equal(problems.length, 1, problems.join("\n"));
      assert.match(problems[0] ?? "", problem);
    });
  }

  test("are refused all at once", async () => {
    const problems = await refusal({ claude: {}, maxSurge: 0, ingress: { enabled: true } });
    assert.equal(problems.length, 3);
  });

  for (const [name, [values, where]] of Object.entries(AGAINST_SCHEMA)) {
    test(`are refused by the schema: ${name}`, async () => {
      await assert.rejects(render(values), ({ stderr }) => {
        assert.match(stderr, /don't meet the specifications of the schema/);
        assert.match(stderr, where);
        return true;
      });
    });
  }
});

describe("values that look as if they could not work", { skip: missingTools, concurrency: 2 }, () => {
  for (const [name, values] of Object.entries(TAKEN)) {
    test(`are taken: ${name}`, async () => assert.ok((await render(values)).deployment));
  }
});
