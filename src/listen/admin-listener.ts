import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

export interface AdminListenerOptions {
  /** Unset: all addresses. */
  readonly host: string | undefined;
  readonly port: number;
  /** Whether the service takes new calls. */
  readonly isReady: () => boolean;
  /** The metrics, in the text format of Prometheus. */
  readonly metrics: () => Promise<string>;
  /** Further endpoints by their paths. */
  readonly endpoints: Readonly<Record<string, AdminEndpoint>>;
  /** How long a caller may take nothing of an answer, in milliseconds. */
  readonly stallTimeoutMs?: number;
}

/** Answers requests of a path. What it throws is not told. */
export type AdminEndpoint = (request: AdminRequest) => AdminReply | Promise<AdminReply>;

export interface AdminRequest {
  readonly method: "GET" | "HEAD";
  readonly query: URLSearchParams;
  /** Aborted when the answer has been sent, or the caller has gone. */
  readonly signal: AbortSignal;
}

export interface AdminReply {
  readonly status: number;
  /** Unset: plain text. */
  readonly type?: string;
  /** Name of the file that it is to be saved as. Unset: it is to be shown. */
  readonly name?: string;
  readonly body: string | Readable;
}

export interface AdminListener extends AsyncDisposable {
  readonly port: number;
}

/** Listens for the platform: `/livez`, `/readyz`, `/metrics` and what else there is, over HTTP/1.1. */
export async function listenAdmin(options: AdminListenerOptions): Promise<AdminListener> {
  const endpoints = new Map<string, AdminEndpoint>([
    ["/livez", () => ({ status: 200, body: "ok\n" })],
    ["/readyz", () => (options.isReady() ? { status: 200, body: "ok\n" } : { status: 503, body: "shutting down\n" })],
    ["/metrics", () => scrape(options.metrics)],
    ...Object.entries(options.endpoints),
  ]);
  const { stallTimeoutMs = 30_000 } = options;
  const notFound = { status: 404, body: `there are ${[...endpoints.keys()].join(", ")}\n` };
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, async (request, response) => {
    const { method } = request;
    const [path = "", query] = (request.url ?? "").split("?", 2);
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    const answer = (reply: AdminReply) => {
      // Only now: what is asked for may take a while.
      response.setTimeout(stallTimeoutMs, () => response.destroy());
      return send(reply, request, response);
    };
    if (method !== "GET" && method !== "HEAD") {
      await answer({ status: 405, body: "only GET and HEAD\n" });
      return;
    }
    let reply: AdminReply;
    try {
      const endpoint = endpoints.get(path) ?? (() => notFound);
      reply = await endpoint({ method, query: new URLSearchParams(query), signal: gone.signal });
    } catch {
      reply = { status: 500, body: "internal error\n" };
    }
    await answer(reply);
  });
  server.listen(options.port, options.host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function scrape(metrics: AdminListenerOptions["metrics"]): Promise<AdminReply> {
  return { status: 200, type: "text/plain; version=0.0.4; charset=utf-8", body: await metrics() };
}

async function send(reply: AdminReply, { method }: IncomingMessage, response: ServerResponse): Promise<void> {
  const { status, type = "text/plain; charset=utf-8", name, body } = reply;
  response.writeHead(status, {
    "content-type": type,
    "cache-control": "no-store",
    ...(name !== undefined && { "content-disposition": `attachment; filename="${name}"` }),
  });
  if (typeof body === "string") response.end(method === "HEAD" ? undefined : body);
  // Whichever of both ends first, the other does too.
  else await pipeline(body, response).catch(() => {});
}
