import { setTimeout } from "node:timers/promises";
import type { DescService } from "@bufbuild/protobuf";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import { file_google_rpc_error_details } from "../gen/google/rpc/error_details_pb.js";
import { file_google_rpc_status } from "../gen/google/rpc/status_pb.js";
import { Health } from "../gen/grpc/health/v1/health_pb.js";
import { AgentService } from "../gen/parley/v1/agent_service_pb.js";
import { ChatService } from "../gen/parley/v1/chat_service_pb.js";
import { file_parley_v1_errors } from "../gen/parley/v1/errors_pb.js";
import { ModelService } from "../gen/parley/v1/model_service_pb.js";
import { ToolService } from "../gen/parley/v1/tool_service_pb.js";
import { ActiveCalls } from "./admin/active-calls.ts";
import { debugEndpoints } from "./admin/endpoints.ts";
import { PriceTable } from "./agent/prices.ts";
import { type Retrier, RetryBudget } from "./agent/retry.ts";
import { createRuns, createTools } from "./agents.ts";
import { type Config, ConfigError } from "./config/config.ts";
import { loadMessageTypes, type MessageTypes } from "./descriptors/message-types.ts";
import { drain } from "./drain.ts";
import { createValidate } from "./interceptors/validate.ts";
import { listenAdmin } from "./listen/admin-listener.ts";
import { Dispatcher } from "./listen/dispatcher.ts";
import { listen } from "./listen/public-listener.ts";
import { createRoutes } from "./listen/routes.ts";
import type { Logger } from "./observe/logger.ts";
import { observeProcess } from "./observe/process-metrics.ts";
import { startTelemetry, type Telemetry } from "./observe/telemetry.ts";
import { createObservers } from "./observers.ts";
import { chat } from "./rpc/chat.ts";
import { countTokens } from "./rpc/count-tokens.ts";
import type { AgentDependencies } from "./rpc/dependencies.ts";
import { HealthState } from "./rpc/health.ts";
import { getModel, listModels } from "./rpc/models.ts";
import { registerReflection } from "./rpc/reflection.ts";
import { resumeRun, runAgent } from "./rpc/run-agent.ts";
import { attachRun, cancelRun, createRun, getRun, listRuns, submitToolResults } from "./rpc/runs.ts";
import { streamChat } from "./rpc/stream-chat.ts";
import { listTools } from "./rpc/tools.ts";
import type { ToolRegistry } from "./tools/registry.ts";
import type { ToolSource } from "./tools/tool.ts";
import { createAnthropicUpstream } from "./upstream/anthropic.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** What tests put in the place of the real thing. */
export interface Overrides {
  readonly upstream?: Upstream;
  /** The jitter and the clock of retries. */
  readonly retrier?: Partial<Pick<Retrier, "random" | "sleep">>;
  /** Tools besides those of the configuration. */
  readonly tools?: ToolSource;
  /** Where spans and metrics go. */
  readonly telemetry?: Telemetry;
}

export interface Server extends AsyncDisposable {
  readonly port: number;
  readonly adminPort: number;
  /** Connections of callers that are open. */
  readonly connections: number;
  /**
   * Shuts down in order: says that it does not serve any more, but takes new calls during the lame duck, so that load
   * balancers can look away; then takes none, and lets those in progress come to their end; those that have not by the
   * end of the drain get UNAVAILABLE with reason SHUTTING_DOWN, and a moment to take it.
   */
  shutDown(): Promise<void>;
}

/** Services of callers: their health is told, and reflection lists them. */
const SERVICES: readonly DescService[] = [ChatService, AgentService, ModelService, ToolService];

/** Puts the service together and starts it: the one place that knows all parts. */
export async function createServer(config: Config, logger: Logger, overrides: Overrides = {}): Promise<Server> {
  await using starting = new AsyncDisposableStack();
  const { claude, limits, server: serving } = config;

  // The first to be there is the last to be closed: all spans have ended by then.
  const telemetry = starting.use(overrides.telemetry ?? (await startTelemetry(config.telemetry, logger)));
  starting.use(observeProcess(telemetry.meterProvider.getMeter("parley")));
  const prices = new PriceTable(config.prices);
  const observers = createObservers(config, telemetry, prices, logger);
  const unobserved =
    overrides.upstream ??
    starting.use(
      createAnthropicUpstream({
        baseUrl: config.baseUrl,
        credential: config.credential,
        workspaceId: claude.workspaceId,
        proxy: config.proxy,
        connectTimeoutMs: claude.connectTimeout,
        firstByteTimeoutMs: claude.firstByteTimeout,
        idleTimeoutMs: claude.idleTimeout,
        onHeader: observers.onHeader,
      }),
    );
  const upstream = observers.upstream(unobserved);
  const health = new HealthState(SERVICES.map(({ typeName }) => typeName));
  const shutdown = new AbortController();

  const tools = starting.use(createTools(config, logger, overrides.tools));
  const dependencies = createDependencies(config, upstream, tools, prices, overrides);
  const runs = starting.use(createRuns(config, dependencies, observers, logger));
  const agentDependencies = { ...dependencies, runs };
  const methods = [
    chat(dependencies),
    streamChat(dependencies),
    countTokens(dependencies),
    listModels(dependencies),
    getModel(dependencies),
    runAgent(agentDependencies),
    createRun(agentDependencies),
    attachRun(agentDependencies),
    getRun(agentDependencies),
    listRuns(agentDependencies),
    cancelRun(agentDependencies),
    submitToolResults(agentDependencies),
    resumeRun(agentDependencies),
    listTools(dependencies),
    ...health.methods(),
  ];
  const routes = createRoutes(
    methods,
    (router) =>
      registerReflection(
        router,
        [...SERVICES, Health],
        [file_parley_v1_errors, file_google_rpc_error_details, file_google_rpc_status],
      ),
    {
      interceptors: [createValidate()],
      acceptCompression: [compressionGzip, compressionBrotli],
      readMaxBytes: limits.requestBytes,
      maxTimeoutMs: limits.timeout,
      shutdownSignal: shutdown.signal,
    },
  );
  const calls = new ActiveCalls();
  const dispatcher = new Dispatcher({
    routes,
    observer: calls.observe(observers.calls),
    allowedOrigins: serving.corsOrigins,
    deadlines: { defaultMs: config.defaultTimeout, maxMs: limits.timeout },
    requestTimeoutMs: limits.requestTime,
  });
  const listener = starting.use(
    await listen(
      {
        host: serving.host,
        port: config.port,
        tls: serving.tls,
        limits: {
          maxHeaderBytes: limits.headerBytes,
          maxConcurrentStreams: limits.concurrentStreams,
          maxConnections: limits.connections,
          headerTimeoutMs: limits.headerTime,
          requestTimeoutMs: limits.requestTime,
          idleTimeoutMs: limits.idleTime,
          connectionAgeMs: limits.connectionAge,
          keepAliveMs: limits.keepAlive,
        },
        onTlsReload: (error) => {
          if (error === undefined) logger.info("TLS files have been read anew");
          else logger.error({ err: error }, "TLS files cannot be used: the old ones stay in use");
        },
      },
      {
        request: (request, response) => dispatcher.request(request, response),
        stream: (stream, headers) => dispatcher.stream(stream, headers),
      },
    ),
  );
  const admin = starting.use(
    await listenAdmin({
      host: serving.host,
      port: config.adminPort,
      isReady: () => health.isServing,
      metrics: () => telemetry.scrape(),
      endpoints: debugEndpoints({ config, calls, runs: () => runs.active }),
    }),
  );
  observers.active({ connections: () => listener.connections, runs: () => runs.active });
  const running = starting.move();

  let shuttingDown: Promise<void> | undefined;
  return {
    port: listener.port,
    adminPort: admin.port,
    get connections() {
      return listener.connections;
    },
    shutDown() {
      shuttingDown ??= drain(serving, health, listener, runs, shutdown);
      return shuttingDown;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function createDependencies(
  { claude, server, runs, tools: { descriptors, grpc } }: Config,
  upstream: Upstream,
  tools: ToolRegistry,
  prices: PriceTable,
  { retrier }: Overrides,
): Omit<AgentDependencies, "runs"> {
  const images = [...descriptors, ...grpc.flatMap((service) => service.descriptors ?? [])];
  return {
    upstream,
    retrier: {
      policy: {
        maxAttempts: claude.retry.maxAttempts,
        baseDelayMs: claude.retry.baseDelay,
        maxDelayMs: claude.retry.maxDelay,
      },
      budget: new RetryBudget(),
      random: Math.random,
      sleep: (milliseconds, signal) => setTimeout(milliseconds, undefined, { signal }),
      ...retrier,
    },
    defaults: { ...claude, messageTypes: messageTypesOf(images) },
    heartbeatMs: server.heartbeat,
    tools,
    prices,
    budgets: runs,
  };
}

/** @throws {ConfigError} when an image cannot be read. */
function messageTypesOf(images: readonly string[]): MessageTypes {
  try {
    return loadMessageTypes(images);
  } catch (error) {
    throw new ConfigError([`tools.descriptors: ${(error as Error).message}`]);
  }
}
