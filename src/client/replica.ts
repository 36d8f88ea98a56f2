import type { LookupAddress } from "node:dns";
import type { SecureClientSessionOptions } from "node:http2";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Connection } from "./connection.ts";
import type { TransportOptions } from "./transport-options.ts";

/** After what time connecting is tried again, in milliseconds. */
const RECONNECT_MS = 1_000;

/** An address of the service, with a connection of its own. */
export class Replica {
  readonly #authority: string;
  readonly #sessionOptions: SecureClientSessionOptions;
  readonly #transport: Transport;
  /** Those that have not closed. All but the latest have been told to go, and have calls that go on. */
  readonly #connections = new Set<Connection>();
  #latest: Connection | undefined;
  #reaching: Promise<Transport> | undefined;
  #failedAt = Number.NEGATIVE_INFINITY;
  #closed: Error | undefined;

  /** Set when it was not reached, or not soon. Calls do not wait for it then, if there is another. */
  isDoubtful = false;

  constructor({ address, family }: LookupAddress, { baseUrl, nodeOptions, interceptors }: TransportOptions) {
    // The name stays what it is, for certificates and for `:authority`: only where it leads to is known.
    const lookup = (_host: string, { all }: { all?: boolean }, done: (...result: unknown[]) => void) =>
      all === true ? done(null, [{ address, family }]) : done(null, address, family);
    this.#authority = new URL(baseUrl).origin;
    this.#sessionOptions = { ...nodeOptions, lookup } as SecureClientSessionOptions;
    this.#transport = createGrpcTransport({
      baseUrl,
      sessionManager: {
        authority: this.#authority,
        request: async (method, path, headers, options) =>
          // Calls come when it has been reached.
          (this.#latest as Connection).request({ ...headers, ":method": method, ":path": path }, options),
        notifyResponseByteRead: () => {},
      },
      ...(interceptors !== undefined && { interceptors }),
    });
  }

  /** Whether it has a connection, or is about to. */
  get isConnected(): boolean {
    return this.#connections.size > 0;
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

  /** Closes its connections for good, and ends the calls on them with the reason. */
  close(reason: Error): void {
    this.#closed = reason;
    for (const connection of this.#connections) connection.destroy(reason);
  }

  async #reach(): Promise<Transport> {
    if (!(await this.#latest?.isOpen())) await this.#connect();
    this.isDoubtful = false;
    return this.#transport;
  }

  async #connect(): Promise<void> {
    if (this.#closed !== undefined) throw this.#closed;
    const connection = new Connection(this.#authority, this.#sessionOptions);
    this.#connections.add(connection);
    connection.onClose(() => this.#connections.delete(connection));
    this.#latest = connection;
    try {
      await connection.confirmed;
    } catch (error) {
      this.isDoubtful = true;
      this.#failedAt = performance.now();
      throw error;
    }
  }
}
