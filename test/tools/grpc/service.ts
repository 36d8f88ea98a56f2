import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type DescService,
  fromBinary,
  fromJson,
  type JsonValue,
  type Message,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { type FileDescriptorSet, FileDescriptorSetSchema, type MethodDescriptorProto } from "@bufbuild/protobuf/wkt";
import {
  Server as GrpcServer,
  Metadata,
  type Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  type status,
} from "@grpc/grpc-js";
import { type GrpcServiceConfig, toolsSchema } from "../../../src/config/tools-schema.ts";
import { INVENTORY_IMAGE } from "../../../src/demo/inventory/inventory-service.ts";
import { serviceDefinition } from "../../../src/demo/inventory/service-definition.ts";
import { loadImage } from "../../../src/descriptors/image.ts";
import { createGrpcTools } from "../../../src/tools/grpc/grpc-tools.ts";
import { type Tool, type ToolContext, ToolError, type ToolResult, type ToolSource } from "../../../src/tools/tool.ts";
import { passedTrace } from "../../support/tool-trace.ts";

/** The name that all methods of the tests begin with. */
export const INVENTORY = "inventory.v1.InventoryService";

/** A call that a service got. */
export interface SeenCall {
  readonly method: string;
  readonly request: JsonValue;
  readonly metadata: Metadata;
  /** Address of the caller's end of the connection. */
  readonly peer: string;
  /** Resolves when the caller has cancelled it. */
  readonly cancelled: Promise<void>;
}

/** Answers with the JSON of a message, or of several; or throws a status. */
export type Handler = (call: SeenCall) => unknown;

export interface TestService extends AsyncDisposable {
  /** `host:port`. */
  readonly address: string;
  readonly port: number;
  /** All calls, in order. */
  readonly calls: readonly SeenCall[];
  /** The next call that nobody has asked for yet, past or to come. */
  nextCall(): Promise<SeenCall>;
  readonly server: Server;
}

export interface TestServiceOptions {
  readonly service?: DescService;
  readonly port?: number;
  readonly credentials?: ServerCredentials;
  /** Registers more services. */
  readonly more?: (server: Server) => void;
}

/** A service of grpc-js that answers as the handlers say, by the names of methods. */
export async function startService(
  handlers: Readonly<Record<string, Handler>>,
  options: TestServiceOptions = {},
): Promise<TestService> {
  const service = options.service ?? inventoryService();
  const calls: SeenCall[] = [];
  const waiting: ((call: SeenCall) => void)[] = [];
  const untaken: SeenCall[] = [];

  const see = (
    method: string,
    call: Pick<ServerUnaryCall<Message, Message>, "on" | "request" | "metadata" | "getPeer">,
  ) => {
    const cancelled = Promise.withResolvers<void>();
    call.on("cancelled", () => cancelled.resolve());
    const { input } = methodOf(service, method);
    const seen: SeenCall = {
      method,
      request: toJson(input, call.request),
      metadata: call.metadata,
      peer: call.getPeer(),
      cancelled: cancelled.promise,
    };
    calls.push(seen);
    const taker = waiting.shift();
    if (taker === undefined) untaken.push(seen);
    else taker(seen);
    return seen;
  };
  const implementation = Object.fromEntries(
    Object.entries(handlers).map(([name, handler]) => {
      const { output, methodKind } = methodOf(service, name);
      const write = (json: unknown) => fromJson(output, json as JsonValue);
      if (methodKind === "unary") {
        return [
          name,
          async (call: ServerUnaryCall<Message, Message>, callback: sendUnaryData<Message>) => {
            try {
              callback(null, write(await handler(see(name, call))));
            } catch (error) {
              callback(error as Error);
            }
          },
        ];
      }
      return [
        name,
        async (call: ServerWritableStream<Message, Message>) => {
          try {
            for await (const json of handler(see(name, call as never)) as AsyncIterable<unknown>) {
              if (call.cancelled) return;
              if (!call.write(write(json))) await new Promise((resolve) => call.once("drain", resolve));
            }
            call.end();
          } catch (error) {
            call.emit("error", error);
          }
        },
      ];
    }),
  );
  const server = new GrpcServer();
  server.addService(serviceDefinition(service), implementation);
  options.more?.(server);
  const port = await new Promise<number>((resolve, reject) => {
    const credentials = options.credentials ?? ServerCredentials.createInsecure();
    server.bindAsync(`127.0.0.1:${options.port ?? 0}`, credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return {
    address: `127.0.0.1:${port}`,
    port,
    calls,
    nextCall: async () => untaken.shift() ?? new Promise((resolve) => waiting.push(resolve)),
    server,
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}

function methodOf(service: DescService, name: string) {
  const method = service.methods.find((candidate) => candidate.name === name);
  if (method === undefined) throw new Error(`there is no method ${name}`);
  return method;
}

function inventoryService(image = INVENTORY_IMAGE): DescService {
  const service = loadImage(image).getService(INVENTORY);
  if (service === undefined) throw new Error("the image has no inventory service");
  return service;
}

/** A status for a handler to throw. */
export function statusError(code: status, details: string, metadata = new Metadata()): Error {
  return Object.assign(new Error(details), { code, details, metadata });
}

/** An image like that of the inventory service, with a change. */
export interface ChangedImage extends Disposable {
  readonly path: string;
  readonly service: DescService;
}

export function changedImage(change: (image: FileDescriptorSet) => void): ChangedImage {
  const folder = mkdtempSync(join(tmpdir(), "parley-image-"));
  const path = join(folder, "changed.binpb");
  const image = fromBinary(FileDescriptorSetSchema, readFileSync(INVENTORY_IMAGE));
  change(image);
  writeFileSync(path, toBinary(FileDescriptorSetSchema, image));
  return {
    path,
    get service() {
      return inventoryService(path);
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  };
}

/** A method of the inventory service in an image. */
export function methodIn({ file }: FileDescriptorSet, name: string): MethodDescriptorProto {
  const methods = file.flatMap(({ service }) => service).flatMap(({ method }) => method);
  const found = methods.find((method) => method.name === name);
  if (found === undefined) throw new Error(`there is no method ${name}`);
  return found;
}

type Settings = Record<string, unknown>;

/** A checked configuration, whose methods are all those of the inventory service. */
export function grpcConfig(address: string, settings: Settings = {}): GrpcServiceConfig {
  const methods = ["GetStock", "ListWarehouses", "ReserveItems", "WatchStock"];
  const entry = {
    name: "inventory",
    target: address,
    descriptors: INVENTORY_IMAGE,
    methods: methods.map((method) => ({ name: `${INVENTORY}/${method}` })),
    ...settings,
  };
  const [config] = toolsSchema.parse({ grpc: [entry] }).grpc;
  if (config === undefined) throw new Error("unreachable");
  return config;
}

/** The tools of a service, by their names. */
export interface TestTools extends AsyncDisposable {
  readonly source: ToolSource;
  readonly problems: readonly string[];
  tool(name: string): Tool;
}

export function openTools(address: string, settings: Settings = {}): TestTools {
  const problems: string[] = [];
  const source = createGrpcTools(grpcConfig(address, settings), {
    onProblem: (error, message) => problems.push(`${message}: ${(error as Error).message}`),
  });
  return {
    source,
    problems,
    tool: (name) => toolOf(source, name),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

export function toolOf({ tools }: { readonly tools: readonly Tool[] }, name: string): Tool {
  const found = tools.find((tool) => tool.name === name);
  if (found === undefined) throw new Error(`there is no tool ${name}`);
  return found;
}

export interface TestContext extends ToolContext {
  readonly told: readonly string[];
}

export interface ContextOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  readonly caller?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The context of a call that a run makes. */
export function contextOf(options: ContextOptions = {}): TestContext {
  const { signal = new AbortController().signal, timeoutMs = 20_000, caller = "orders", headers = {} } = options;
  const told: string[] = [];
  return {
    signal,
    deadline: performance.now() + timeoutMs,
    runId: "run_1",
    toolUseId: "toolu_1",
    caller: { name: caller, header: (name) => headers[name] },
    trace: passedTrace(headers),
    progress: (message) => told.push(message),
    told,
  };
}

/** The error that a call fails with. */
export async function toolError(call: Promise<ToolResult>): Promise<ToolError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ToolError) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

/** The JSON of a result that is one text. */
export function jsonOf({ content }: ToolResult): unknown {
  if (typeof content !== "string") throw new Error(`the result has notes: ${JSON.stringify(content)}`);
  return JSON.parse(content);
}
