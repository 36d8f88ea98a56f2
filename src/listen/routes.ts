import type { DescMethodServerStreaming, DescMethodUnary } from "@bufbuild/protobuf";
import { type Interceptor as ConnectInterceptor, type ConnectRouter, createConnectRouter } from "@connectrpc/connect";
import type { UniversalHandlerFn } from "@connectrpc/connect/protocol";
import { requestFault } from "../errors/request-fault.ts";
import type { CallRecord, Method, StreamingMethod, UnaryMethod } from "../rpc/call.ts";
import { LONGEST_TIMER_MS } from "./deadline.ts";
import { refuse, withErrorDetails } from "./error-details.ts";
import { createGrpcHandler, type GrpcHandler } from "./grpc.ts";
import { isUnary, openCall, openOutput, recordKey, runMethod, type ServeOptions } from "./serve.ts";
import { createSseHandler } from "./sse.ts";

/** How requests for one RPC are served. */
export interface Route {
  /** Path of the RPC without the slash before it. */
  readonly name: string;
  readonly handler: UniversalHandlerFn;
  /** Serves gRPC over HTTP/2. Unset: `handler` does. */
  readonly grpc: GrpcHandler | undefined;
  /** Serves Server-Sent Events. Unset: the RPC does not stream. */
  readonly sse: UniversalHandlerFn | undefined;
  readonly quiet: boolean;
  /** The RPC gets no deadline of the service's. */
  readonly unlimited: boolean;
  /** The request may stay open as long as the caller likes. */
  readonly streamsRequest: boolean;
}

/**
 * The routes of all methods, by path. `others` registers what is no Method, because it streams in both directions, with
 * Connect's router alone.
 */
export function createRoutes(
  methods: readonly Method[],
  others: (router: ConnectRouter) => void,
  options: ServeOptions,
): ReadonlyMap<string, Route> {
  const newRouter = (maxTimeoutMs: number, ...interceptors: ConnectInterceptor[]) =>
    createConnectRouter({
      interceptors,
      acceptCompression: options.acceptCompression,
      readMaxBytes: options.readMaxBytes,
      maxTimeoutMs,
      shutdownSignal: options.shutdownSignal,
      jsonOptions,
    });
  const routes = new Map<string, Route>();
  for (const method of methods) {
    const streams = !isUnary(method);
    const unlimited = streams && (method.unlimited ?? false);
    const maxTimeoutMs = unlimited ? LONGEST_TIMER_MS : options.maxTimeoutMs;
    const [connect] = register(newRouter(maxTimeoutMs), method, options).handlers;
    if (connect === undefined) throw new TypeError(`${method.desc} has no handler`);
    const described = withErrorDetails(connect, options.acceptCompression);
    routes.set(connect.requestPath, {
      name: connect.requestPath.slice(1),
      handler: described,
      grpc: createGrpcHandler(method, options),
      sse: streams ? createSseHandler(described, options.readMaxBytes) : undefined,
      quiet: method.quiet ?? false,
      unlimited,
      streamsRequest: false,
    });
  }
  const router = newRouter(LONGEST_TIMER_MS, recordOutcome);
  others(router);
  for (const handler of router.handlers) {
    const name = handler.requestPath.slice(1);
    routes.set(handler.requestPath, {
      name,
      handler,
      grpc: undefined,
      sse: undefined,
      quiet: true,
      unlimited: true,
      streamsRequest: true,
    });
  }
  return routes;
}

/**
 * A member that the proto does not have is refused: it is a typing error, and Claude would be asked something else than
 * was meant. So are bytes that are not UTF-8, which would otherwise be replaced.
 */
const jsonOptions = {
  ignoreUnknownFields: false,
  textDecoder: { decode: (bytes: Uint8Array) => new TextDecoder("utf-8", { fatal: true }).decode(bytes) },
};

/** Records how the streams end that are no Method, and so do not pass our own interceptors. */
const recordOutcome: ConnectInterceptor = (next) => async (request) => {
  const response = await next(request);
  if (!response.stream) return response;
  return { ...response, message: recordEnd(response.message, request.contextValues.get(recordKey)) };
};

async function* recordEnd<T>(messages: AsyncIterable<T>, record: CallRecord): AsyncGenerator<T> {
  try {
    yield* messages;
    record.code = 0;
  } catch (error) {
    throw refuse(requestFault(error), record);
  }
}

/** Serves a method over gRPC-Web, Connect, and gRPC on HTTP/1.1. */
function register(router: ConnectRouter, method: Method, options: ServeOptions): ConnectRouter {
  if (isUnary(method)) return registerUnary(router, method, options);
  return registerStreaming(router, method, options);
}

function registerUnary(router: ConnectRouter, method: UnaryMethod, options: ServeOptions): ConnectRouter {
  return router.rpc(method.desc as DescMethodUnary, async (input, context) => {
    const call = openCall(context);
    const out = openOutput(call);
    void runMethod(method, input, call, options, out);
    const { value: [message] = [] } = await out.next();
    if (message === undefined) throw new TypeError("a unary method has sent nothing");
    return message;
  });
}

function registerStreaming(router: ConnectRouter, method: StreamingMethod, options: ServeOptions): ConnectRouter {
  return router.rpc(method.desc as DescMethodServerStreaming, async function* (input, context) {
    const call = openCall(context);
    const out = openOutput(call);
    void runMethod(method, input, call, options, out);
    for await (const batch of out) yield* batch;
  });
}
