import { once } from "node:events";
import { createServer as createHttp1Server, type ServerOptions as Http1Options, type RequestListener } from "node:http";
import {
  createServer as createHttp2Server,
  createSecureServer,
  type ServerOptions as Http2Options,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo, Server, Socket } from "node:net";
import { readTls, type TlsFiles } from "../config/tls-files.ts";
import { Http1Responses } from "./http1-responses.ts";
import { closeSession, guardSession, type SessionLimits } from "./http2-session.ts";
import { sniff } from "./sniff.ts";
import { reloadTls } from "./tls.ts";

export interface HttpLimits extends SessionLimits {
  /** The most bytes that the header of a request may have. */
  readonly maxHeaderBytes: number;
  /** The most calls at a time on one HTTP/2 connection. */
  readonly maxConcurrentStreams: number;
  /** The most connections at a time. */
  readonly maxConnections: number;
  /** How long a header, and a TLS handshake, may take to arrive, in milliseconds. */
  readonly headerTimeoutMs: number;
  /** How long a whole request may take to arrive, in milliseconds. */
  readonly requestTimeoutMs: number;
}

export interface PublicListenerOptions {
  /** Unset: all addresses. */
  readonly host: string | undefined;
  readonly port: number;
  readonly limits: HttpLimits;
  /** Unset: no TLS. */
  readonly tls: TlsFiles | undefined;
  /** Is told when TLS files have been read anew, or could not be. */
  readonly onTlsReload: (error?: unknown) => void;
}

/** Take what comes in. */
export interface Handlers {
  readonly request: RequestListener;
  /** Takes a stream of HTTP/2, or returns false: it then becomes a request. */
  stream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean;
}

/** The port that callers use. */
export interface PublicListener extends AsyncDisposable {
  readonly port: number;
  /** Connections that are open. */
  readonly connections: number;
  /**
   * Lets connections of HTTP/1.1 go as soon as their calls are answered, so that callers open others: unlike HTTP/2, it
   * cannot tell them which calls were taken when it is closed. New ones are still accepted.
   */
  letGo(): void;
  /**
   * Accepts no more connections and no more calls on those that are open. Resolves when the last call has ended, and all
   * connections are closed.
   */
  close(): Promise<void>;
}

/**
 * A cancelled call is a reset stream, and a caller may cancel many at once: Node's default, a burst of 1,000 and then 33
 * a second, would close the connections of honest callers. Rapid resets beyond these are an attack (CVE-2023-44487).
 */
const STREAM_RESETS = { streamResetBurst: 10_000, streamResetRate: 1_000 };

/**
 * Listens for gRPC, gRPC-Web and Connect on one port: over HTTP/2 and HTTP/1.1, told apart by ALPN with TLS, and without
 * TLS by the first bytes of a connection.
 */
export async function listen(options: PublicListenerOptions, handlers: Handlers): Promise<PublicListener> {
  const { limits } = options;
  const http1: Http1Options = {
    maxHeaderSize: limits.maxHeaderBytes,
    // A header is a part of its request: Node refuses to start with more time for it.
    headersTimeout: Math.min(limits.headerTimeoutMs, limits.requestTimeoutMs),
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: Math.min(limits.headerTimeoutMs, 5_000),
    keepAliveTimeout: limits.idleTimeoutMs,
    keepAlive: true,
    noDelay: true,
  };
  const http2: Http2Options = {
    ...STREAM_RESETS,
    settings: { maxConcurrentStreams: limits.maxConcurrentStreams, maxHeaderListSize: limits.maxHeaderBytes },
  };
  const sessions = new Set<ServerHttp2Session>();
  const sockets = new Set<Socket>();
  const http1Responses = new Http1Responses(limits.connectionAgeMs);
  let closed: Promise<void> | undefined;
  const onSession = (session: ServerHttp2Session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    guardSession(session, limits);
    // Its connection was accepted before the end, and has said only now what it is.
    if (closed !== undefined) closeSession(session, limits.keepAliveMs);
  };
  const handler: RequestListener = (request, response) => {
    if (request.httpVersionMajor === 1) http1Responses.add(request, response);
    handlers.request(request, response);
  };
  using resources = new DisposableStack();
  const server =
    options.tls === undefined
      ? plainServer(http1, http2, limits, handler, handlers, onSession)
      : secureServer(http1, http2, limits, options.tls, handler, handlers, onSession);
  if (options.tls !== undefined)
    resources.use(reloadTls(server as Http2SecureServer, options.tls, options.onTlsReload));
  server.maxConnections = limits.maxConnections;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(options.port, options.host);
  await once(server, "listening");
  const owned = resources.move();

  const close = () => {
    closed ??= new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const session of sessions) closeSession(session, limits.keepAliveMs);
      http1Responses.letGo();
      // A connection that has not said anything yet has no call to finish.
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
    });
    return closed;
  };
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return sockets.size;
    },
    letGo: () => http1Responses.letGo(),
    close,
    async [Symbol.asyncDispose]() {
      owned.dispose();
      const done = close();
      // The server is closed a little before the last sockets are, and with these the calls that are cut off.
      const gone = Array.from(sockets, (socket) => new Promise((resolve) => socket.once("close", resolve)));
      for (const session of sessions) session.destroy();
      for (const socket of sockets) socket.destroy();
      await Promise.all([done, ...gone]);
    },
  };
}

/** The HTTP/1.1 server listens, and hands the connections that speak HTTP/2 to a server of their own. */
function plainServer(
  http1: Http1Options,
  http2: Http2Options,
  limits: HttpLimits,
  handler: RequestListener,
  handlers: Handlers,
  onSession: (session: ServerHttp2Session) => void,
): Server {
  const http2Server = createHttp2Server(http2, handler as never);
  offerStreams(http2Server, handlers);
  http2Server.on("session", onSession);
  http2Server.on("sessionError", () => {});
  const server = createHttp1Server(http1, handler);
  const acceptHttp1 = server.listeners("connection") as ((socket: Socket) => void)[];
  server.removeAllListeners("connection");
  server.on("connection", (socket) =>
    sniff(socket, limits.headerTimeoutMs, (version) => {
      if (version === 1) {
        for (const accept of acceptHttp1) accept.call(server, socket);
        return;
      }
      // Node's HTTP/1.1 server keeps a connection half open when the client ends its side; HTTP/2 has no use for that.
      socket.allowHalfOpen = false;
      http2Server.emit("connection", socket);
    }),
  );
  return server;
}

function secureServer(
  http1: Http1Options,
  http2: Http2Options,
  limits: HttpLimits,
  tls: TlsFiles,
  handler: RequestListener,
  handlers: Handlers,
  onSession: (session: ServerHttp2Session) => void,
): Http2SecureServer {
  const server = createSecureServer(
    {
      ...http1,
      ...http2,
      ...readTls(tls),
      allowHTTP1: true,
      handshakeTimeout: limits.headerTimeoutMs,
      minVersion: "TLSv1.2",
      requestCert: tls.clientCaFile !== undefined,
      rejectUnauthorized: tls.clientCaFile !== undefined,
    } as Parameters<typeof createSecureServer>[0],
    handler as never,
  );
  offerStreams(server, handlers);
  server.on("session", onSession);
  server.on("sessionError", () => {});
  return server;
}

/** Offers each stream of HTTP/2 as it is, before Node makes a request of it. */
function offerStreams(server: Http2Server | Http2SecureServer, handlers: Handlers): void {
  const makeRequest = server.listeners("stream") as ((...args: unknown[]) => void)[];
  server.removeAllListeners("stream");
  server.on("stream", (stream, headers, ...rest) => {
    if (handlers.stream(stream, headers)) return;
    for (const listener of makeRequest) listener.call(server, stream, headers, ...rest);
  });
}
