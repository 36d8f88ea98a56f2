import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { jittered } from "./connection-age.ts";

/**
 * Lets go of the connections of HTTP/1.1 when their calls have ended: all of them when the server is to be closed (Node
 * then closes those that are idle, but leaves those open that become so later), and before that each when it is old.
 */
export class Http1Responses {
  readonly #open = new Set<ServerResponse>();
  /** When connections are old, by `performance.now()`. */
  readonly #oldAt = new WeakMap<Socket, number>();
  readonly #connectionAgeMs: number;
  #isLettingGo = false;

  /** @param connectionAgeMs how long a connection takes new calls, give or take a tenth. 0: as long as it is there. */
  constructor(connectionAgeMs: number) {
    this.#connectionAgeMs = connectionAgeMs;
  }

  add({ socket }: IncomingMessage, response: ServerResponse): void {
    this.#open.add(response);
    response.once("close", () => {
      this.#open.delete(response);
      if (!this.#isLettingGo) return;
      // Another call may have been sent on the connection before this one was answered.
      const isIdle = !Array.from(this.#open).some(({ req }) => req.socket === socket);
      if (isIdle) socket.destroySoon();
    });
    if (this.#isLettingGo || this.#isOld(socket)) response.setHeader("connection", "close");
  }

  letGo(): void {
    this.#isLettingGo = true;
    for (const response of this.#open) if (!response.headersSent) response.setHeader("connection", "close");
  }

  #isOld(socket: Socket): boolean {
    if (this.#connectionAgeMs === 0) return false;
    const oldAt = this.#oldAt.get(socket);
    if (oldAt !== undefined) return performance.now() >= oldAt;
    this.#oldAt.set(socket, performance.now() + jittered(this.#connectionAgeMs));
    return false;
  }
}
