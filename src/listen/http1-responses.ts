import type { IncomingMessage, ServerResponse } from "node:http";

/**
 * Lets go of the connections of HTTP/1.1 when their calls have ended. Node closes those that are idle when a server is
 * closed, but leaves those open that become so later.
 */
export class Http1Responses {
  readonly #open = new Set<ServerResponse>();
  #isClosing = false;

  add({ socket }: IncomingMessage, response: ServerResponse): void {
    this.#open.add(response);
    response.once("close", () => {
      this.#open.delete(response);
      if (!this.#isClosing) return;
      // Another call may have been sent on the connection before this one was answered.
      const isIdle = !Array.from(this.#open).some(({ req }) => req.socket === socket);
      if (isIdle) socket.destroySoon();
    });
    if (this.#isClosing) response.setHeader("connection", "close");
  }

  close(): void {
    this.#isClosing = true;
    for (const response of this.#open) if (!response.headersSent) response.setHeader("connection", "close");
  }
}
