import { EventEmitter, on } from "node:events";
import type { SecureContextOptions } from "node:tls";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { type Config, loadConfig } from "../../src/config/config.ts";
import { createLogger } from "../../src/observe/logger.ts";
import { createServer, type Overrides, type Server } from "../../src/server.ts";
import { createSimulator, type Script, type Simulator, type SimulatorOptions } from "../../src/simulator/simulator.ts";

type Settings<T> = { readonly [K in keyof T]?: T[K] extends object ? Settings<T[K]> : T[K] };

export interface ServiceOptions {
  /** Differences from the default configuration. */
  readonly config?: Settings<Config>;
  readonly script?: Script;
  readonly simulator?: SimulatorOptions;
  readonly overrides?: Overrides;
}

/** The service on a port of its own, with the simulator as Claude. */
export interface Service extends AsyncDisposable {
  readonly simulator: Simulator;
  readonly server: Server;
  readonly config: Config;
  /** Address of the public port. */
  readonly url: string;
  /** Address of the admin port. */
  readonly adminUrl: string;
  /** All lines that were logged, at debug level. */
  readonly logs: readonly Record<string, unknown>[];
  /** The log line of the next call that ends, or of one that has ended and nobody has asked for. */
  nextCall(): Promise<Record<string, unknown>>;
  /** Resolves with the first line of the log, past or to come, that fits. */
  line(fits: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  /** A ChatService client over gRPC. */
  readonly chat: Client<typeof ChatService>;
  client<S extends DescService>(service: S): Client<S>;
}

export async function startService(options: ServiceOptions = {}): Promise<Service> {
  await using starting = new AsyncDisposableStack();
  const simulator = starting.use(
    await createSimulator({
      pacing: "instant",
      ...options.simulator,
      ...(options.script !== undefined && { script: options.script }),
    }),
  );
  const env = { ANTHROPIC_API_KEY: "sk-test", ANTHROPIC_BASE_URL: simulator.url, PORT: "0", ADMIN_PORT: "0" };
  const defaults = { server: { host: "127.0.0.1", lameDuck: 0 }, claude: { retry: { baseDelay: 1 } } };
  const config = merge(merge(loadConfig(env), defaults), options.config ?? {}) as Config;

  const logs: Record<string, unknown>[] = [];
  const untaken: Record<string, unknown>[] = [];
  const waiting: ((line: Record<string, unknown>) => void)[] = [];
  const lines = new EventEmitter<{ line: [Record<string, unknown>] }>().setMaxListeners(0);
  const stream = {
    write(text: string) {
      const line = JSON.parse(text) as Record<string, unknown>;
      logs.push(line);
      lines.emit("line", line);
      if (line.msg !== "call") return;
      const taker = waiting.shift();
      if (taker === undefined) untaken.push(line);
      else taker(line);
    },
  };
  const logger = await createLogger({ level: "debug", pretty: false, stream });
  const server = starting.use(await createServer(config, logger, options.overrides));
  const url = `${config.server.tls === undefined ? "http" : "https"}://127.0.0.1:${server.port}`;
  const transport = createGrpcTransport({ baseUrl: url });
  const running = starting.move();
  return {
    simulator,
    server,
    config,
    url,
    adminUrl: `http://127.0.0.1:${server.adminPort}`,
    logs,
    nextCall: async () => untaken.shift() ?? new Promise((resolve) => waiting.push(resolve)),
    line: async (fits) => {
      const found = logs.find(fits);
      if (found !== undefined) return found;
      for await (const [line] of on(lines, "line")) if (fits(line)) return line;
      throw new Error("unreachable");
    },
    chat: createClient(ChatService, transport),
    client: (service) => createClient(service, transport),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** A transport for each protocol, over each version of HTTP that it has. */
export function transports(url: string, nodeOptions: SecureContextOptions = {}): Record<string, Transport> {
  const target = { baseUrl: url, nodeOptions };
  return {
    "gRPC over HTTP/2": createGrpcTransport(target),
    "gRPC-Web over HTTP/1.1": createGrpcWebTransport({ ...target, httpVersion: "1.1" }),
    "gRPC-Web over HTTP/2": createGrpcWebTransport({ ...target, httpVersion: "2" }),
    "Connect over HTTP/1.1": createConnectTransport({ ...target, httpVersion: "1.1" }),
    "Connect over HTTP/2": createConnectTransport({ ...target, httpVersion: "2" }),
    "Connect with JSON": createConnectTransport({ ...target, httpVersion: "2", useBinaryFormat: false }),
    "gRPC with JSON": createGrpcTransport({ ...target, useBinaryFormat: false }),
  };
}

function merge(base: unknown, changes: unknown): unknown {
  if (!isPlain(base) || !isPlain(changes)) return changes;
  const result: Record<string, unknown> = { ...base };
  for (const [name, value] of Object.entries(changes)) result[name] = merge(result[name], value);
  return result;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
