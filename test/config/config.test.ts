import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { ConfigError, loadConfig } from "../../src/config/config.ts";

const folder = mkdtempSync(join(tmpdir(), "parley-config-"));
after(() => rmSync(folder, { recursive: true }));

let files = 0;
function file(text: string): string {
  const path = join(folder, `${++files}.yaml`);
  writeFileSync(path, text);
  return path;
}

function problems(env: NodeJS.Dict<string>): readonly string[] {
  try {
    loadConfig(env);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems;
  }
  throw new Error("the configuration was accepted");
}

const key = { ANTHROPIC_API_KEY: "sk-test" };
const HEADERS = "must be pairs such as name=value, with commas between them, of names and texts that a header may have";

describe("the environment", () => {
  test("with nothing but a key is enough", () => {
    const config = loadConfig(key);
    assert.equal(config.port, 8_080);
    assert.equal(config.adminPort, 9_090);
    assert.equal(config.defaultTimeout, 300_000);
    assert.equal(config.baseUrl, "https://api.anthropic.com");
    assert.equal(config.claude.model, "claude-sonnet-5-5");
    assert.deepEqual(config.ineffective, []);
  });

  test("sets what it has names for", () => {
    const config = loadConfig({
      ...key,
      PORT: "1",
      ADMIN_PORT: "2",
      ANTHROPIC_BASE_URL: "http://localhost:8090",
      CLAUDE_MODEL: "claude-opus-5-5",
      CLAUDE_MAX_TOKENS: "100",
      CLAUDE_TIMEOUT_SEC: "7",
      LOG_LEVEL: "DEBUG",
      https_proxy: "http://proxy:3128",
    });
    const { port, adminPort, baseUrl, claude, defaultTimeout, logLevel, proxy } = config;
    assert.deepEqual(
      { port, adminPort, baseUrl, model: claude.model, maxTokens: claude.maxTokens, defaultTimeout, logLevel, proxy },
      {
        port: 1,
        adminPort: 2,
        baseUrl: "http://localhost:8090",
        model: "claude-opus-5-5",
        maxTokens: 100,
        defaultTimeout: 7_000,
        logLevel: "debug",
        proxy: { httpProxy: "", httpsProxy: "http://proxy:3128", noProxy: "" },
      },
    );
  });

  test("is told all that is wrong with it at once, by name and with what is allowed", () => {
    const found = problems({
      PORT: "http",
      ADMIN_PORT: "70000",
      CLAUDE_MAX_TOKENS: "0",
      CLAUDE_TIMEOUT_SEC: "1.5",
      LOG_LEVEL: "loud",
      ANTHROPIC_BASE_URL: "ftp://example.com",
      ANTHROPIC_API_KEY: "a",
      ANTHROPIC_API_KEY_FILE: join(folder, "missing"),
      CLAUDE_MAX_TOKEN: "5",
      PARLEY_CONFIG: join(folder, "missing.yaml"),
    });
    for (const pattern of [
      /^PORT must be a whole number from 0 to 65535, but is "http"$/,
      /^ADMIN_PORT must be .* but is "70000"$/,
      /^CLAUDE_MAX_TOKENS must be a whole number from 1 to 1000000, but is "0"$/,
      /^CLAUDE_TIMEOUT_SEC must be .* but is "1.5"$/,
      /^LOG_LEVEL must be one of trace, debug, .* but is "loud"$/,
      /^ANTHROPIC_BASE_URL must be an http or https URL/,
      /^ANTHROPIC_API_KEY and ANTHROPIC_API_KEY_FILE are set: keep one/,
      /^CLAUDE_MAX_TOKEN is unknown: is CLAUDE_MAX_TOKENS meant\?$/,
      /^PARLEY_CONFIG: .*missing\.yaml cannot be read \(ENOENT\)$/,
    ]) {
      assert.ok(
        found.some((problem) => pattern.test(problem)),
        `${pattern} in ${found.join("\n")}`,
      );
    }
  });

  test("that would not do what it seems to is refused, and no secret in it is repeated", () => {
    assert.deepEqual(problems({ ...key, PORT: "8080", ADMIN_PORT: "8080" }), [
      "PORT and ADMIN_PORT must differ, but both are 8080",
    ]);
    assert.match(problems({ ...key, ANTHROPIC_CUSTOM_HEADERS: "x-a: b" })[0] ?? "", /^ANTHROPIC_CUSTOM_HEADERS is not/);
    for (const url of ["http://h/base?x=1", "http://h/#x", "http://user:secret@h", "h:80"]) {
      const [problem = "", ...others] = problems({ ...key, ANTHROPIC_BASE_URL: url });
      assert.match(problem, /^ANTHROPIC_BASE_URL must be an http or https URL without user, query and fragment/);
      assert.ok(!problem.includes("secret"));
      assert.deepEqual(others, []);
    }
    for (const url of ["proxy:3128", "socks5://user:secret@proxy:1080"]) {
      assert.deepEqual(problems({ ...key, HTTPS_PROXY: url }), ["HTTPS_PROXY must be an http or https URL"]);
    }
  });

  test("names the workspace of a key that can act on several", () => {
    assert.equal(loadConfig({ ...key, ANTHROPIC_WORKSPACE_ID: "wrkspc_1" }).claude.workspaceId, "wrkspc_1");
  });

  test("without a credential says how to get one, and how to do without", () => {
    const [problem, ...others] = problems({});
    assert.deepEqual(others, []);
    assert.match(problem ?? "", /ANTHROPIC_API_KEY.*ANTHROPIC_API_KEY_FILE.*federation.*npm run demo/);
  });

  test("with half of a federation says which half is missing", () => {
    assert.deepEqual(problems({ ANTHROPIC_FEDERATION_RULE_ID: "fdrl_1" }), [
      "ANTHROPIC_ORGANIZATION_ID must be set beside ANTHROPIC_FEDERATION_RULE_ID",
      "ANTHROPIC_IDENTITY_TOKEN_FILE must be set beside ANTHROPIC_FEDERATION_RULE_ID",
    ]);
  });

  test("with a key beside a federation is refused: the key would win in silence", () => {
    const [problem] = problems({ ...key, ANTHROPIC_FEDERATION_RULE_ID: "fdrl_1" });
    assert.match(problem ?? "", /ANTHROPIC_API_KEY and ANTHROPIC_FEDERATION_RULE_ID are set/);
  });

  test("may have names of others, and of what Kubernetes makes of a service called parley", () => {
    loadConfig({
      ...key,
      CLAUDE_CODE_ENTRYPOINT: "cli",
      PARLEY_PORT: "tcp://10.0.0.1:8080",
      PARLEY_SERVICE_HOST: "10.0.0.1",
    });
  });

  test("tells which of its settings have no effect yet", () => {
    const { ineffective } = loadConfig({
      ...key,
      CLAUDE_REQ_PER_MIN: "60",
      PARLEY_STORE: "memory",
      PARLEY_QUOTA: "redis://r",
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318",
      OTEL_BLRP_SCHEDULE_DELAY: "1",
    });
    assert.deepEqual(ineffective, ["CLAUDE_REQ_PER_MIN", "PARLEY_QUOTA", "OTEL_BLRP_SCHEDULE_DELAY"]);
    assert.deepEqual(loadConfig({ ...key, OTEL_LOGS_EXPORTER: "otlp" }).ineffective, ["OTEL_LOGS_EXPORTER"]);
    assert.deepEqual(loadConfig({ ...key, OTEL_LOGS_EXPORTER: "none" }).ineffective, []);
  });
});

describe("OTEL_*", () => {
  const url = "http://collector:4317";
  const telemetry = (env: NodeJS.Dict<string>) => loadConfig({ ...key, ...env }).telemetry;
  const metrics = (changes = {}) => ({ protocol: "http/protobuf", interval: 60_000, timeout: 30_000, ...changes });

  for (const [what, env, traces, otlpMetrics] of [
    ["nothing is set", {}, false, undefined],
    ["all is empty", { OTEL_EXPORTER_OTLP_ENDPOINT: "", OTEL_TRACES_EXPORTER: " " }, false, undefined],
    [
      "what is not about exporting is set",
      { OTEL_SERVICE_NAME: "a", OTEL_TRACES_SAMPLER: "always_on" },
      false,
      undefined,
    ],
    ["an endpoint is set", { OTEL_EXPORTER_OTLP_ENDPOINT: url }, true, metrics()],
    ["that of traces is set", { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: url }, true, undefined],
    ["that of metrics is set", { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: url }, false, metrics()],
    ["the exporter of traces is set", { OTEL_TRACES_EXPORTER: "otlp" }, true, undefined],
    ["that of metrics is set to OTLP", { OTEL_METRICS_EXPORTER: "otlp" }, false, metrics()],
    [
      "traces are not to be exported",
      { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_EXPORTER: "none" },
      false,
      metrics(),
    ],
    [
      "metrics are not to be exported",
      { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_METRICS_EXPORTER: "none" },
      true,
      undefined,
    ],
    ["the SDK is disabled", { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_SDK_DISABLED: "TRUE" }, false, undefined],
  ] as const) {
    test(`says what is exported when ${what}`, () => {
      const found = telemetry(env);
      assert.deepEqual([found.traces, found.otlpMetrics], [traces, otlpMetrics]);
    });
  }

  test("sets how metrics are exported", () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" };
    assert.deepEqual(telemetry(env).otlpMetrics, metrics({ protocol: "grpc" }));
    const json = { ...env, OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: "http/json", OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: url };
    assert.deepEqual(telemetry(json).otlpMetrics, metrics({ protocol: "http/json" }));
    const often = { ...env, OTEL_METRIC_EXPORT_INTERVAL: "5000" };
    assert.deepEqual(telemetry(often).otlpMetrics, metrics({ protocol: "grpc", interval: 5_000, timeout: 5_000 }));
  });

  test("names the service, which is parley otherwise", () => {
    const named = (env: NodeJS.Dict<string>) => [telemetry(env).serviceName, telemetry(env).serviceVersion];
    assert.deepEqual(named({}), ["parley", "0.1.0"]);
    const attributes = "service.name=claude%2Dgateway,service.version=7,k8s.pod.name=a";
    assert.deepEqual(named({ OTEL_RESOURCE_ATTRIBUTES: attributes }), ["claude-gateway", "7"]);
    assert.deepEqual(named({ OTEL_RESOURCE_ATTRIBUTES: attributes, OTEL_SERVICE_NAME: "mine" }), ["mine", "7"]);
  });

  for (const [name, value, problem] of [
    ["OTEL_EXPORTER_OTLP_PROTOCOL", "http", 'must be grpc or http/protobuf or http/json, but is "http"'],
    ["OTEL_TRACES_EXPORTER", "zipkin", 'must be otlp or none, but is "zipkin"'],
    [
      "OTEL_METRICS_EXPORTER",
      "prometheus",
      'must be otlp or none: for Prometheus, /metrics on the admin port always has all metrics, but is "prometheus"',
    ],
    ["OTEL_TRACES_SAMPLER_ARG", "1.5", 'must be a number from 0 to 1, but is "1.5"'],
    [
      "OTEL_PROPAGATORS",
      "tracecontext,jaeger",
      'must be a list of tracecontext, baggage, b3, b3multi, none, but is "tracecontext,jaeger"',
    ],
    ["OTEL_BSP_MAX_QUEUE_SIZE", "0", 'must be a whole number from 1 to 999999999, but is "0"'],
    ["OTEL_SDK_DISABLED", "1", 'must be true or false, but is "1"'],
    ["OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "must be pairs such as name=value, with commas between them"],
    ["OTEL_EXPORTER_OTLP_HEADERS", "Bearer secret", HEADERS],
    ["OTEL_EXPORTER_OTLP_HEADERS", "my name=secret", HEADERS],
    ["OTEL_EXPORTER_OTLP_HEADERS", "x-key=sécret", HEADERS],
    ["OTEL_EXPORTER_OTLP_HEADERS", "x-key=sec%0Aret", HEADERS],
    ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-key=100%", HEADERS],
    ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-key-bin=AAAA", HEADERS],
    [
      "OTEL_EXPORTER_OTLP_ENDPOINT",
      " http://collector:4318",
      "must be an http or https URL, since the protocol is http/protobuf",
    ],
    [
      "OTEL_EXPORTER_OTLP_ENDPOINT",
      "collector:4318",
      "must be an http or https URL, since the protocol is http/protobuf",
    ],
    ["OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/ca.pem", "/no/ca.pem cannot be read (ENOENT)"],
    ["OTEL_EXPORTER_OTLP_CLIENT_KEY", "-----BEGIN PRIVATE KEY----- MIIC", "what is set cannot be read (ENOENT)"],
    ["OTEL_CONFIG_FILE", "otel.yaml", "is not supported: set what it says with the other OTEL_* variables"],
  ] as const) {
    test(`is refused when ${name} is ${value}`, () => {
      const separator = problem.includes("ENOENT") ? ":" : "";
      assert.deepEqual(problems({ ...key, [name]: value }), [`${name}${separator} ${problem}`]);
      loadConfig({ ...key, [name]: value, OTEL_SDK_DISABLED: "true" });
    });
  }

  test("names the samplers that there are", () => {
    const [problem] = problems({ ...key, OTEL_TRACES_SAMPLER: "sometimes" });
    assert.match(
      problem ?? "",
      /^OTEL_TRACES_SAMPLER must be always_on .*parentbased_traceidratio, but is "sometimes"$/,
    );
  });

  test("may have secrets in headers", () => {
    loadConfig({ ...key, OTEL_EXPORTER_OTLP_HEADERS: "authorization=Basic%20c2VjcmV0==,x-tenant=a" });
  });
});

describe("the file", () => {
  test("sets what is structured, and the environment goes before it", () => {
    const path = file(`
claude:
  model: claude-opus-5-5
  maxTokens: 500
  fallbackModels: [claude-haiku-5-5]
  retry: { maxAttempts: 5, baseDelay: 50ms }
server:
  corsOrigins: ["https://app.example"]
  drain: 1m
limits:
  requestBytes: 64KiB
admin: { profiling: true }
telemetry: { captureContent: true }
logging:
  level: warn
`);
    const config = loadConfig({ ...key, PARLEY_CONFIG: path, CLAUDE_MODEL: "claude-haiku-5-5" });
    assert.equal(config.claude.model, "claude-haiku-5-5");
    assert.equal(config.claude.maxTokens, 500);
    assert.deepEqual(config.claude.fallbackModels, ["claude-haiku-5-5"]);
    assert.deepEqual(config.claude.retry, { maxAttempts: 5, baseDelay: 50, maxDelay: 20_000 });
    assert.equal(config.server.drain, 60_000);
    assert.equal(config.limits.requestBytes, 65_536);
    assert.deepEqual(config.admin, { debug: true, profiling: true });
    assert.equal(config.telemetry.captureContent, true);
    assert.equal(config.logLevel, "warn");
  });

  test("may be empty, as a whole and in its parts", () => {
    assert.equal(loadConfig({ ...key, PARLEY_CONFIG: file("# nothing\n") }).logLevel, "info");
    const sections = file("claude:\n  retry:\nserver:\n  # drain: 1m\nlimits:\nadmin:\ntelemetry:\nlogging:\n");
    assert.deepEqual(loadConfig({ ...key, PARLEY_CONFIG: sections }).limits, loadConfig(key).limits);
  });

  test("is told all that is wrong with it at once, by line and name and with what is allowed", () => {
    const path = file(`
claude:
  modle: claude-opus-5-5
  maxTokens: many
  retry:
    maxAttempts: 99
server:
  drain: 30
  corsOrigins: ["https://a.example/", "*"]
  tls: { certFile: a.pem }
limits: [1]
made_up: true
admin: { profiling: "on" }
`);
    assert.deepEqual(problems({ ...key, PARLEY_CONFIG: path }), [
      `${path}:3: claude.modle is unknown`,
      `${path}:4: claude.maxTokens must be a whole number from 1 to 1000000, but is "many"`,
      `${path}:6: claude.retry.maxAttempts must be a whole number from 1 to 10, but is 99`,
      `${path}:8: server.drain must be a duration from 0s to 1h, such as 500ms, 30s, 5m or 1h, but is 30`,
      `${path}:9: server.corsOrigins.0 must be an origin such as https://app.example, or *, but is "https://a.example/"`,
      `${path}:10: server.tls.keyFile must be set`,
      `${path}:11: limits must be a mapping of names to values`,
      `${path}:12: made_up is unknown`,
      `${path}:13: admin.profiling must be true or false`,
    ]);
  });

  test("has one price of a model, or several from different days on, in any order", () => {
    const path = file(`
prices:
  always: { input: 1, output: 5 }
  once: { from: 2026-10-01, input: 1, output: 5 }
  changing:
    - { from: "2027-01-01", input: 3, output: 9 }
    - { input: 1, output: 5 }
    - { from: 2026-10-01, input: 2, output: 7, cacheRead: 0 }
`);
    assert.deepEqual(loadConfig({ ...key, PARLEY_CONFIG: path }).prices, {
      always: { input: 1, output: 5 },
      once: { from: "2026-10-01", input: 1, output: 5 },
      changing: [
        { from: "2027-01-01", input: 3, output: 9 },
        { input: 1, output: 5 },
        { from: "2026-10-01", input: 2, output: 7, cacheRead: 0 },
      ],
    });
  });

  test("is told all that is wrong with its prices", () => {
    const path = file(`
prices:
  one:
    input: -1
    outputs: 5
  several:
    - { from: 2026-02-29, input: 1, output: 5 }
    - { from: 2026-10-1, input: 1, output: 5 }
    - { from: 2026-10-01T00:00:00Z, input: 1, output: 5 }
    - { from: 2026, input: 1, output: much }
    - { from: , input: 1, output: 5 }
    - 5
  same:
    - { from: 2026-10-01, input: 1, output: 5 }
    - { input: 1, output: 5 }
    - { from: "2026-10-01", input: 2, output: 6 }
    - { input: 2, output: 6 }
  none: []
  nothing:
  number: 5
`);
    const date = "must be a date such as 2026-10-01";
    assert.deepEqual(problems({ ...key, PARLEY_CONFIG: path }), [
      `${path}:4: prices.one.output must be a number`,
      `${path}:4: prices.one.input must not be below 0`,
      `${path}:5: prices.one.outputs is unknown`,
      `${path}:7: prices.several.0.from ${date}, but is "2026-02-29"`,
      `${path}:8: prices.several.1.from ${date}, but is "2026-10-1"`,
      `${path}:9: prices.several.2.from ${date}, but is "2026-10-01T00:00:00Z"`,
      `${path}:10: prices.several.3.from ${date}, but is 2026`,
      `${path}:10: prices.several.3.output must be a number`,
      `${path}:11: prices.several.4.from ${date}, but is null`,
      `${path}:12: prices.several.5 must be a mapping of names to values`,
      `${path}:16: prices.same.2.from must be unique, but 2026-10-01 is there twice`,
      `${path}:17: prices.same.3.from must be set in all prices but one`,
      `${path}:18: prices.none must not be empty`,
      `${path}:19: prices.nothing must be a mapping of names to values`,
      `${path}:20: prices.number must be a mapping of names to values`,
    ]);
  });

  test("that is a list is refused", () => {
    const path = file("- a\n");
    assert.deepEqual(problems({ ...key, PARLEY_CONFIG: path }), [
      `${path}:1: the file must be a mapping of names to values`,
    ]);
  });

  test("that is no YAML is told by line", () => {
    const path = file("claude:\n  model: [a\n");
    const [problem] = problems({ ...key, PARLEY_CONFIG: path });
    assert.match(problem ?? "", new RegExp(`^${path}:\\d+: `));
  });

  test("with TLS files that are not there is refused", () => {
    const path = file("server: { tls: { certFile: /no/cert.pem, keyFile: /no/key.pem } }");
    assert.deepEqual(problems({ ...key, PARLEY_CONFIG: path }), [
      "server.tls.certFile: /no/cert.pem cannot be read (ENOENT)",
      "server.tls.keyFile: /no/key.pem cannot be read (ENOENT)",
    ]);
  });

  test("with TLS files that are no PEM is refused", () => {
    const certFile = file("not a certificate");
    const path = file(`server: { tls: { certFile: ${certFile}, keyFile: ${certFile} } }`);
    const [problem] = problems({ ...key, PARLEY_CONFIG: path });
    assert.match(problem ?? "", /^server\.tls: the files cannot be used: /);
  });
});
