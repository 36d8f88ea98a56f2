import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface AdminListenerOptions {
  /** Unset: all addresses. */
  readonly host: string | undefined;
  readonly port: number;
  /** Whether the service takes new calls. */
  readonly isReady: () => boolean;
  /** The metrics, in the text format of Prometheus. */
  readonly metrics: () => Promise<string>;
}

export interface AdminListener extends AsyncDisposable {
  readonly port: number;
}

/** Listens for the platform: `/livez`, `/readyz` and `/metrics`, over HTTP/1.1. */
export async function listenAdmin(options: AdminListenerOptions): Promise<AdminListener> {
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, (request, response) => {
    const answer = (status: number, body: string, type = "text/plain; charset=utf-8") => {
      response.writeHead(status, { "content-type": type });
      response.end(request.method === "HEAD" ? undefined : body);
    };
    if (request.method !== "GET" && request.method !== "HEAD") {
      answer(405, "only GET and HEAD\n");
      return;
    }
    switch (request.url?.split("?", 1)[0]) {
      case "/livez":
        answer(200, "ok\n");
        break;
      case "/readyz":
        if (options.isReady()) answer(200, "ok\n");
        else answer(503, "shutting down\n");
        break;
      case "/metrics":
        options.metrics().then(
          (text) => answer(200, text, "text/plain; version=0.0.4; charset=utf-8"),
          () => answer(500, "the metrics cannot be collected\n"),
        );
        break;
      default:
        answer(404, "there are /livez, /readyz and /metrics\n");
    }
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
