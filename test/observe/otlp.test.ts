import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { describe, test } from "node:test";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator } from "../../src/simulator/simulator.ts";
import { missingReceiver, type OtlpReceiver, type Span, startOtlpReceiver } from "../support/otlp.ts";
import { type ServiceProcess, startProcess, startServiceProcess } from "../support/process.ts";

const skip = missingReceiver();
const SERVER = 2;
const CHAT = "parley.v1.ChatService/Chat";

/** Sends what has happened at once, not every few seconds. */
const soon = { OTEL_BSP_SCHEDULE_DELAY: "50", OTEL_METRIC_EXPORT_INTERVAL: "200" };

/** The service as a process, with the simulator as Claude. */
interface Running extends AsyncDisposable {
  readonly service: ServiceProcess;
  readonly chat: Client<typeof ChatService>;
  call(headers?: Record<string, string>): Promise<void>;
  /** So many calls, a few at a time. */
  calls(count: number): Promise<void>;
  /** Sends SIGTERM, and resolves with how many milliseconds the process took to end well. */
  stop(): Promise<number>;
}

async function start(env: NodeJS.Dict<string>, config: object = {}): Promise<Running> {
  await using starting = new AsyncDisposableStack();
  const simulator = starting.use(await createSimulator({ pacing: "instant" }));
  const service = starting.use(
    await startServiceProcess({ ANTHROPIC_BASE_URL: simulator.url, ...env }, { server: { lameDuck: "0s" }, ...config }),
  );
  const chat = createClient(ChatService, createGrpcTransport({ baseUrl: service.url }));
  const call = async (headers = {}) => {
    await chat.chat({ messages: [{ role: Role.USER, text: "hello" }] }, { headers });
  };
  const running = starting.move();
  return {
    service,
    chat,
    call,
    async calls(count) {
      for (let done = 0; done < count; done += 20) await Promise.all(Array.from({ length: 20 }, () => call()));
    },
    async stop() {
      const before = performance.now();
      service.child.kill("SIGTERM");
      assert.equal(await service.exit, 0, service.errors());
      assert.ok(!service.logs.some(({ msg }) => msg === "unhandled rejection"));
      return performance.now() - before;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

const serverSpans = (receiver: OtlpReceiver): readonly Span[] => receiver.spans().filter(({ kind }) => kind === SERVER);

async function scrapedNames({ service }: Running): Promise<ReadonlySet<string>> {
  const scrape = await (await fetch(`${service.adminUrl}/metrics`)).text();
  return new Set(Array.from(scrape.matchAll(/^# TYPE (\w+?)(?:_total)? /gm), ([, name = ""]) => name));
}

/** Lines of the log in which OpenTelemetry says something of itself. */
const diagnostics = ({ service }: Running) => service.logs.filter(({ source }) => source === "opentelemetry");

describe("an OTLP receiver", { skip }, () => {
  for (const protocol of ["grpc", "http/protobuf", "http/json"]) {
    test(`gets spans over ${protocol}, and the metrics that Prometheus gets`, async () => {
      await using receiver = await startOtlpReceiver();
      await using parley = await start({
        ...soon,
        OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint(protocol),
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
        OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
      });
      await parley.call();
      await receiver.until(() => serverSpans(receiver).length === 1);
      await receiver.until(() => receiver.metrics().has("rpc.server.call.duration"));

      const [server] = serverSpans(receiver);
      assert.equal(server?.name, CHAT);
      const children = receiver.spans().filter(({ parentSpanId }) => parentSpanId === server?.spanId);
      assert.deepEqual(
        children.map(({ name, traceId }) => ({ name, traceId })),
        [{ name: "chat claude-sonnet-5-5", traceId: server?.traceId }],
      );
      for (const resource of receiver.resources()) {
        assert.equal(resource["service.name"], "parley");
        assert.equal(resource["service.version"], "0.1.0");
        assert.equal(resource["deployment.environment.name"], "test");
      }

      const sent = () => new Set([...receiver.metrics()].map((name) => name.replaceAll(".", "_")));
      const scraped = await scrapedNames(parley);
      await receiver.until(() => scraped.isSubsetOf(sent()));
      // Instruments may have got their first value since then.
      assert.deepEqual(sent().difference(await scrapedNames(parley)), new Set());
    });
  }

  test("has all that has happened when the process has ended", async () => {
    await using receiver = await startOtlpReceiver();
    await using parley = await start({
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint("http/protobuf"),
      OTEL_BSP_SCHEDULE_DELAY: "600000",
      OTEL_METRIC_EXPORT_INTERVAL: "600000",
    });
    // A batch is 512 spans: some are sent before, some are on their way, and most of them wait for the next one.
    await parley.calls(440);
    const time = await parley.stop();
    assert.ok(time < 5_000, `${time} ms`);
    await receiver[Symbol.asyncDispose]();
    assert.equal(serverSpans(receiver).length, 440);
    assert.ok(receiver.metrics().has("rpc.server.call.duration"));
    assert.deepEqual(diagnostics(parley), []);
  });

  test("gets every span also when they carry what is said, at length", async () => {
    await using receiver = await startOtlpReceiver();
    const env = {
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: receiver.endpoint("grpc"),
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "grpc",
    };
    await using parley = await start(env, { telemetry: { captureContent: true } });
    const text = "what is said, at length ".repeat(2_000);
    for (let done = 0; done < 200; done += 20) {
      const call = () => parley.chat.chat({ messages: [{ role: Role.USER, text }], system: { text } });
      await Promise.all(Array.from({ length: 20 }, call));
    }
    await parley.stop();
    await receiver[Symbol.asyncDispose]();
    assert.equal(serverSpans(receiver).length, 200);
    assert.deepEqual(diagnostics(parley), []);
  });

  test("gets the traces of callers who have theirs recorded, in the formats that are set", async () => {
    await using receiver = await startOtlpReceiver();
    await using parley = await start({
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: receiver.endpoint("grpc"),
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "grpc",
      OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
      OTEL_TRACES_SAMPLER_ARG: "0",
      OTEL_PROPAGATORS: "tracecontext,b3",
    });
    const [w3c, b3, unsampled] = ["1", "2", "3"].map((digit) => digit.repeat(32));
    const parent = "a".repeat(16);
    await parley.call();
    await parley.call({ traceparent: `00-${w3c}-${parent}-01` });
    await parley.call({ b3: `${b3}-${parent}-1` });
    await parley.call({ traceparent: `00-${unsampled}-${parent}-00` });
    await parley.stop();
    await receiver[Symbol.asyncDispose]();
    assert.deepEqual(
      serverSpans(receiver).map(({ traceId, parentSpanId }) => [traceId, parentSpanId]),
      [
        [w3c, parent],
        [b3, parent],
      ],
    );
    assert.equal(receiver.metrics().size, 0);
  });

  for (const [what, env] of [
    ["the endpoint of metrics alone is set", {}],
    ["traces are turned off", { OTEL_TRACES_EXPORTER: "none", OTEL_METRICS_EXPORTER: "otlp" }],
  ] as const) {
    test(`gets no spans when ${what}`, async () => {
      await using receiver = await startOtlpReceiver();
      const url = receiver.endpoint("http/protobuf");
      const endpoint =
        "OTEL_TRACES_EXPORTER" in env
          ? { OTEL_EXPORTER_OTLP_ENDPOINT: url }
          : { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: `${url}/v1/metrics` };
      await using parley = await start({ ...soon, ...endpoint, ...env });
      await parley.call();
      await parley.stop();
      await receiver[Symbol.asyncDispose]();
      assert.ok(receiver.metrics().has("rpc.server.call.duration"));
      assert.deepEqual(receiver.spans(), []);
    });
  }

  test("gets nothing when OpenTelemetry is disabled", async () => {
    await using receiver = await startOtlpReceiver();
    await using parley = await start({
      ...soon,
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint("http/protobuf"),
      OTEL_SDK_DISABLED: "true",
    });
    await parley.call();
    await parley.stop();
    await receiver[Symbol.asyncDispose]();
    assert.deepEqual([receiver.spans(), receiver.metrics().size], [[], 0]);
  });
});

test("a scrape before anything has been exported is nothing to warn of", async () => {
  const { url, server } = await listening(createServer());
  await using parley = await start({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: url });
  assert.ok((await scrapedNames(parley)).has("process_memory_usage"));
  await parley.stop();
  assert.deepEqual(diagnostics(parley), []);
  server.close();
});

test("without OTEL_* nothing is exported", async () => {
  await using parley = await start({});
  await parley.call();
  const line = await parley.service.line(({ msg }) => msg === "call");
  assert.equal(line.trace_id, undefined);
  await parley.stop();
  assert.ok(!parley.service.logs.some(({ msg }) => msg === "telemetry is exported"));
});

/** A server at a port of its own. */
async function listening(server: Server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, server };
}

describe("a collector that", { concurrency: true }, () => {
  for (const protocol of ["grpc", "http/protobuf"]) {
    test(`is not there does no harm to calls, nor to the shutdown, over ${protocol}`, async () => {
      const { url, server } = await listening(createServer());
      server.close();
      await using parley = await start({
        ...soon,
        OTEL_EXPORTER_OTLP_ENDPOINT: url,
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        OTEL_EXPORTER_OTLP_TIMEOUT: "1000",
        // The last spans are still here at the end.
        OTEL_BSP_SCHEDULE_DELAY: "600000",
      });
      await parley.calls(100);
      await parley.service.line(({ source }) => source === "opentelemetry");
      await parley.calls(100);
      const time = await parley.stop();
      await parley.service.line(({ msg }) => msg === "the last spans and metrics could not all be sent");
      assert.ok(time < 10_000, `${time} ms`);
      assert.ok(diagnostics(parley).length < 10, JSON.stringify(diagnostics(parley)));
    });

    test(`never answers does no harm either, and spans that wait for it are bounded, over ${protocol}`, async () => {
      let connections = 0;
      const { url, server } = await listening(createServer((socket) => socket.on("error", () => {}).resume()));
      server.on("connection", () => connections++);
      await using parley = await start({
        ...soon,
        OTEL_EXPORTER_OTLP_ENDPOINT: url,
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        OTEL_BSP_MAX_QUEUE_SIZE: "200",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "50",
        OTEL_NODE_EXPERIMENTAL_SDK_METRICS: "true",
      });
      await parley.calls(500);
      const scrape = await (await fetch(`${parley.service.adminUrl}/metrics`)).text();
      const value = (name: string) => Number(new RegExp(`^${name}\\{.*\\} (\\d+)$`, "m").exec(scrape)?.[1]);
      assert.equal(value("otel_sdk_processor_span_queue_size"), 200);
      assert.ok(connections > 0 && connections <= 31, `${connections} requests at a time`);
      const time = await parley.stop();
      assert.ok(time < 10_000, `${time} ms`);
      await parley.service.line(({ msg }) => msg === "the last spans and metrics could not all be sent");
      server.close();
    });
  }

  test("refuses is told of once, without what it answers", async () => {
    let requests = 0;
    const collector = createHttpServer((request, response) => {
      requests++;
      request.resume();
      response.writeHead(401).end("a secret".repeat(1_000));
    });
    const { url } = await listening(collector);
    await using parley = await start({ ...soon, OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_METRICS_EXPORTER: "none" });
    while (requests < 5) {
      const request = once(collector, "request");
      await parley.call();
      await request;
    }
    await parley.stop();
    const lines = diagnostics(parley);
    assert.equal(lines.length, 1, JSON.stringify(lines));
    assert.equal(lines[0]?.msg, "OTLPExporterError 401 Unauthorized");
    assert.doesNotMatch(JSON.stringify(parley.service.logs), /secret/);
    collector.closeAllConnections();
    collector.close();
  });
});

test("with OTEL_* that cannot be used the service does not start, and says why", async () => {
  await using service = startProcess("src/main.ts", {
    ...{ ANTHROPIC_API_KEY: "sk-test", PORT: "0", ADMIN_PORT: "0" },
    OTEL_EXPORTER_OTLP_PROTOCOL: "http",
    OTEL_CONFIG_FILE: "otel.yaml",
  });
  assert.equal(await service.exit, 1);
  const [title, protocol, file] = service.errors().split("\n");
  assert.equal(title, "Parley cannot start:");
  assert.equal(protocol, '- OTEL_EXPORTER_OTLP_PROTOCOL must be grpc or http/protobuf or http/json, but is "http"');
  assert.match(file ?? "", /^- OTEL_CONFIG_FILE is not supported/);
});
