import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";
import { Code, createContextValues } from "@connectrpc/connect";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import { failureOf } from "../errors/connect-error.ts";
import type { CallRecord } from "../rpc/call.ts";
import { corsHeaders, preflightHeaders } from "./cors.ts";
import { boundDeadline } from "./deadline.ts";
import { withRefusal } from "./error-details.ts";
import { discardRest, hangUpAfter, limitBodyTime, type NodeRequest, onceClosed } from "./exchange.ts";
import { isGrpc } from "./grpc.ts";
import type { Route } from "./routes.ts";
import { recordKey } from "./serve.ts";
import { wantsSse } from "./sse.ts";
import { writeUnknownMethod } from "./unknown-method.ts";

/** Is told of every call that comes in, also of those that never come to an RPC. */
export interface CallObserver {
  started(record: CallRecord): void;
  /** The caller has the answer, or is gone, and the handler has come to its end. */
  ended(record: CallRecord, quiet: boolean): void;
}

export interface DispatcherOptions {
  readonly routes: ReadonlyMap<string, Route>;
  readonly observer: CallObserver;
  /** Origins whose scripts may call. Empty: CORS is off. */
  readonly allowedOrigins: readonly string[];
  /** Deadline of a call that has none, in milliseconds. */
  readonly defaultTimeoutMs: number;
  /** The longest deadline, in milliseconds: longer ones are cut. */
  readonly maxTimeoutMs: number;
  /** How long the body of a request may take to arrive, in milliseconds. */
  readonly requestTimeoutMs: number;
}

/** Brings each HTTP request to its RPC, and each call to the observer. */
export function createDispatcher(options: DispatcherOptions): (request: NodeRequest, response: ServerResponse) => void {
  return (request, response) => {
    try {
      dispatch(options, request, response);
    } catch {
      // The request cannot be understood at all: its authority or its target is no URL.
      if (!response.headersSent) response.writeHead(400);
      response.end();
    }
  };
}

function dispatch(options: DispatcherOptions, request: NodeRequest, response: ServerResponse): void {
  const { headers, url = "" } = request;
  const path = url.split("?", 1)[0] ?? "";
  const route = options.routes.get(path);
  if (!route?.streamsRequest) limitBodyTime(request, options.requestTimeoutMs);
  discardRest(request, response);
  const cors = options.allowedOrigins.length > 0 ? corsHeaders(headers, options.allowedOrigins) : undefined;
  if (cors !== undefined) setHeaders(response, cors);
  if (request.method === "OPTIONS") {
    setHeaders(response, cors === undefined ? {} : preflightHeaders(headers));
    response.writeHead(cors === undefined ? 403 : 204);
    response.end();
    return;
  }
  const sse = route?.sse !== undefined && wantsSse(headers) ? route.sse : undefined;
  const record: CallRecord = {
    id: callId(headers["x-request-id"]),
    method: route?.name ?? "unknown",
    protocol: sse === undefined ? protocolOf(request) : "sse",
    peer: request.socket.remoteAddress?.replace(/^::ffff:/, "") ?? "",
    caller: callerOf(request),
    startedAt: performance.now(),
  };
  observe(record, route?.quiet ?? false, request, response, options.observer);
  response.setHeader("x-request-id", record.id);
  if (!route?.unlimited) {
    const limits = { defaultMs: options.defaultTimeoutMs, maxMs: options.maxTimeoutMs };
    const timeoutMs = boundDeadline(headers, record.protocol, limits) ?? options.defaultTimeoutMs;
    hangUpAfter(timeoutMs, record, request, response);
  }
  if (route === undefined) {
    writeUnknownMethod(path, record, response);
    return;
  }
  const contextValues = createContextValues().set(recordKey, record);
  const universalRequest = {
    ...universalRequestFromNodeRequest(request, response, undefined, contextValues),
    // The library's own body destroys a request that is not read to its end: what is left of it would hold the connection.
    body: request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>,
  };
  (sse ?? route.handler)(universalRequest)
    .then((universalResponse) =>
      universalResponseToNodeResponse(withRefusal(universalResponse, request, record), response),
    )
    .catch((error: unknown) => {
      // The response cannot be written: the caller is gone, or resets the stream.
      record.code ??= failureOf(error).code;
      response.destroy();
    });
}

function setHeaders(response: ServerResponse, headers: NodeJS.Dict<unknown>): void {
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) response.setHeader(name, String(value));
  }
}

/** The caller's own identifier is kept if it is harmless, so that both sides can find the call in their logs. */
function callId(header: string | string[] | undefined): string {
  return typeof header === "string" && /^[\w.:/+=-]{1,128}$/.test(header) ? header : randomUUID();
}

function protocolOf({ headers }: NodeRequest): string {
  const contentType = (headers["content-type"] ?? "").toLowerCase();
  if (isGrpc(contentType)) return "grpc";
  if (contentType.startsWith("application/grpc-web")) return "grpc-web";
  if (contentType.startsWith("application/connect+") || headers["connect-protocol-version"] !== undefined)
    return "connect";
  return /^application\/(json|proto)\b/.test(contentType) || contentType === "" ? "connect" : "unknown";
}

/** The common name of a verified client certificate. */
function callerOf({ socket }: NodeRequest): string {
  const { authorized, getPeerCertificate } = socket as Partial<TLSSocket>;
  if (!authorized || getPeerCertificate === undefined) return "anonymous";
  const name = getPeerCertificate.call(socket as TLSSocket).subject?.CN;
  return (Array.isArray(name) ? name[0] : name) ?? "anonymous";
}

/** Tells the observer of a call, from its first byte until the response is closed and the handler has settled. */
function observe(
  record: CallRecord,
  quiet: boolean,
  request: NodeRequest,
  response: ServerResponse,
  observer: CallObserver,
): void {
  const { stream } = request;
  observer.started(record);
  onceClosed(request, response, async () => {
    await record.settled;
    // An answer that was not written to its end did not reach the caller, however well the handler did. Over HTTP/2,
    // Node says of every response that it is finished: the stream knows better.
    const written = stream === undefined ? response.writableFinished : stream.writableFinished && !stream.aborted;
    if (!written && (record.code ?? 0) === 0) record.code = Code.Canceled;
    record.code ??= response.statusCode === 400 ? Code.InvalidArgument : Code.Unknown;
    observer.ended(record, quiet);
  });
}
