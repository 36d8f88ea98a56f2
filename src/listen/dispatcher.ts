import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";
import { Code, createContextValues } from "@connectrpc/connect";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import { failureOf } from "../errors/connect-error.ts";
import type { CallRecord } from "../rpc/call.ts";
import { newCallRecord, type Peer, peerOf, protocolOf } from "./call-record.ts";
import { corsHeaders, preflightHeaders } from "./cors.ts";
import { boundDeadline, type DeadlineLimits, grpcTimeout } from "./deadline.ts";
import { withRefusal } from "./error-details.ts";
import { discardRest, hangUpAfter, limitBodyTime, type NodeRequest, onceClosed } from "./exchange.ts";
import { isGrpc } from "./grpc.ts";
import type { Route } from "./routes.ts";
import { recordKey } from "./serve.ts";
import { wantsSse } from "./sse.ts";
import { writeUnknownMethod } from "./unknown-method.ts";

/** Is told of every call that comes in, also of those that never come to an RPC. */
export interface CallObserver {
  started(record: CallRecord, headers: IncomingHttpHeaders): void;
  /** The caller has the answer, or is gone, and the handler has come to its end. */
  ended(record: CallRecord): void;
}

export interface DispatcherOptions {
  readonly routes: ReadonlyMap<string, Route>;
  readonly observer: CallObserver;
  /** Origins whose scripts may call. Empty: CORS is off. */
  readonly allowedOrigins: readonly string[];
  readonly deadlines: DeadlineLimits;
  /** How long the body of a request may take to arrive, in milliseconds. */
  readonly requestTimeoutMs: number;
}

/** What calls are for that come to no RPC. */
const UNKNOWN = { name: "unknown", quiet: false };

/** Brings each request to its RPC, and each call to the observer. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #peers = new WeakMap<Http2Session, Peer>();

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Takes a stream of HTTP/2, if it is a call over gRPC. All others come as requests. */
  stream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean {
    const { routes, observer, allowedOrigins, deadlines, requestTimeoutMs } = this.#options;
    if (headers[":method"] !== "POST" || !isGrpc(headers["content-type"] ?? "")) return false;
    const route = routes.get(pathOf(headers[":path"] as string | undefined));
    if (route?.grpc === undefined || stream.session === undefined) return false;
    try {
      const record = newCallRecord(route, "grpc", this.#peerOf(stream.session), headers);
      // The stream closes by itself after an error.
      stream.on("error", () => {});
      observer.started(record, headers);
      stream.once("close", () => void ended(record, wasWritten(stream), observer));
      route.grpc({
        stream,
        headers,
        record,
        timeout: grpcTimeout(headers["grpc-timeout"] as string | undefined, route.unlimited ? undefined : deadlines),
        requestTimeoutMs,
        responseHeader: { "x-request-id": record.id, ...corsHeaders(headers, allowedOrigins) },
      });
    } catch {
      stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    }
    return true;
  }

  request(request: NodeRequest, response: ServerResponse): void {
    try {
      this.#dispatch(request, response);
    } catch {
      // The request cannot be understood at all: its authority or its target is no URL.
      if (!response.headersSent) response.writeHead(400);
      response.end();
    }
  }

  #dispatch(request: NodeRequest, response: ServerResponse): void {
    const { routes, observer, allowedOrigins, deadlines, requestTimeoutMs } = this.#options;
    const { headers, stream } = request;
    const path = pathOf(request.url);
    const route = routes.get(path);
    if (!route?.streamsRequest && stream !== undefined) {
      limitBodyTime(stream, requestTimeoutMs, (error) => {
        request.once("error", () => {});
        request.emit("error", error);
      });
    }
    discardRest(request, response);
    const cors = corsHeaders(headers, allowedOrigins);
    setHeaders(response, cors ?? {});
    if (request.method === "OPTIONS") {
      setHeaders(response, cors === undefined ? {} : preflightHeaders(headers));
      response.writeHead(cors === undefined ? 403 : 204);
      response.end();
      return;
    }
    const sse = route?.sse !== undefined && wantsSse(headers) ? route.sse : undefined;
    const protocol = sse === undefined ? protocolOf(headers) : "sse";
    const record = newCallRecord(route ?? UNKNOWN, protocol, peerOf(request.socket), headers);
    observer.started(record, headers);
    onceClosed(request, response, () => {
      const written = stream === undefined ? response.writableFinished : wasWritten(stream);
      const unknownCode = response.statusCode === 400 ? Code.InvalidArgument : Code.Unknown;
      void ended(record, written, observer, unknownCode);
    });
    response.setHeader("x-request-id", record.id);
    if (!route?.unlimited) {
      const timeoutMs = boundDeadline(headers, record.protocol, deadlines) ?? deadlines.defaultMs;
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

  /** To ask the socket is dear for what each call wants to know and a connection never changes. */
  #peerOf(session: Http2Session): Peer {
    let peer = this.#peers.get(session);
    if (peer === undefined) {
      peer = peerOf(session.socket as never);
      this.#peers.set(session, peer);
    }
    return peer;
  }
}

function pathOf(url = ""): string {
  const query = url.indexOf("?");
  return query === -1 ? url : url.slice(0, query);
}

function setHeaders(response: ServerResponse, headers: NodeJS.Dict<unknown>): void {
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) response.setHeader(name, String(value));
  }
}

/** Node says of every response over HTTP/2 that it is finished: the stream knows better. */
function wasWritten(stream: ServerHttp2Stream): boolean {
  return stream.writableFinished && !stream.aborted;
}

/** Tells the observer that a call has ended, once its handler has settled. */
async function ended(
  record: CallRecord,
  written: boolean,
  observer: CallObserver,
  unknownCode = Code.Unknown,
): Promise<void> {
  await record.settled;
  // An answer that was not written to its end did not reach the caller, however well the handler did.
  if (!written && (record.code ?? 0) === 0) record.code = Code.Canceled;
  record.code ??= unknownCode;
  observer.ended(record);
}
