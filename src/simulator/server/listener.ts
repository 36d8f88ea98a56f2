import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** An HTTP/1.1 server that knows its sockets. */
export interface Listener {
  readonly port: number;
  /** TCP connections open now. */
  readonly openSockets: number;
  /** Requests being answered now. */
  readonly activeRequests: number;
  /** Stops listening and destroys all sockets. */
  close(): Promise<void>;
}

/** Longer than clients keep idle connections, so that it is they who close them. */
const KEEP_ALIVE_MS = 120_000;

/** Starts to listen. The handler must not reject. */
export async function listen(
  options: { readonly port: number; readonly host: string },
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): Promise<Listener> {
  let openSockets = 0;
  let activeRequests = 0;
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: 0 }, (request, response) => {
    activeRequests++;
    response.once("close", () => activeRequests--);
    void handle(request, response);
  });
  server.on("connection", (socket) => {
    openSockets++;
    socket.once("close", () => openSockets--);
  });
  server.on("clientError", (_error, socket) => {
    if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    else socket.destroy();
  });
  server.listen(options.port, options.host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get openSockets() {
      return openSockets;
    },
    get activeRequests() {
      return activeRequests;
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
