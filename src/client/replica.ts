import type { LookupAddress } from "node:dns";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { confirmed } from "./confirmed-connection.ts";
import { within } from "./patience.ts";
import type { TransportOptions } from "./transport.ts";

/** How long connecting may take, in milliseconds. */
const CONNECT_TIMEOUT_MS = 3_000;

/** After what time connecting is tried again, in milliseconds. */
const RECONNECT_MS = 1_000;

/** How often a silent connection with calls is asked whether it is still there, in milliseconds. */
const PING_INTERVAL_MS = 30_000;

const PATIENT = { signals: [], deadline: Number.POSITIVE_INFINITY };

/** An address of the service, with a connection of its own. */
export class Replica {
  readonly #transport: Transport;
  readonly #connection: Http2SessionManager;
  #reaching: Promise<Transport> | undefined;
  #failedAt = Number.NEGATIVE_INFINITY;

  /** Set when it was not reached, or not soon. Calls do not wait for it then, if there is another. */
  isDoubtful = false;

  constructor({ address, family }: LookupAddress, { baseUrl, nodeOptions, interceptors }: TransportOptions) {
    // The name stays what it is, for certificates and for `:authority`: only where it leads to is known.
    const lookup = (_host: string, { all }: { all?: boolean }, done: (...result: unknown[]) => void) =>
      all === true ? done(null, [{ address, family }]) : done(null, address, family);
    const sessionOptions = { ...nodeOptions, lookup } as ConstructorParameters<typeof Http2SessionManager>[2];
    this.#connection = new Http2SessionManager(baseUrl, { pingIntervalMs: PING_INTERVAL_MS }, sessionOptions);
    this.#transport = createGrpcTransport({
      baseUrl,
      sessionManager: confirmed(this.#connection, () => this.#doubt()),
      ...(interceptors !== undefined && { interceptors }),
    });
  }

  /** Whether it has calls. */
  get isBusy(): boolean {
    return this.#connection.state() === "open";
  }

  /** Whether it is time to find out if it can be reached. */
  get isDue(): boolean {
    return this.isDoubtful && this.#failedAt + RECONNECT_MS < performance.now();
  }

  /** Connects, or asks whether a connection that has long been silent is still there. Rejects when it is not reached. */
  reach(): Promise<Transport> {
    this.#reaching ??= this.#reach().finally(() => {
      this.#reaching = undefined;
    });
    return this.#reaching;
  }

  /** Closes the connection, and ends the calls on it with the reason. */
  close(reason: Error): void {
    this.#connection.abort(reason);
  }

  async #reach(): Promise<Transport> {
    if (this.isBusy) return this.#transport;
    const state = await within(this.#connection.connect(), PATIENT, CONNECT_TIMEOUT_MS);
    if (state !== undefined && state !== "error") {
      this.isDoubtful = false;
      return this.#transport;
    }
    this.#doubt();
    if (state === "error") throw this.#connection.error() ?? new Error("the connection was closed at once");
    const reason = new Error(`connecting took more than ${CONNECT_TIMEOUT_MS} ms`);
    if (this.#connection.state() === "connecting") this.#connection.abort(reason);
    throw reason;
  }

  #doubt(): void {
    this.isDoubtful = true;
    this.#failedAt = performance.now();
  }
}
