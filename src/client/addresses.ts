import type { LookupAddress } from "node:dns";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { type Patience, within } from "./patience.ts";
import type { TransportOptions } from "./transport.ts";

/** How often the name is looked up, as long as there are calls, in milliseconds. And at once when an address fails. */
const LOOKUP_INTERVAL_MS = 10_000;

/** How long a look-up may take, in milliseconds. */
const LOOKUP_TIMEOUT_MS = 10_000;

/** How long connecting to an address may take, in milliseconds. */
const CONNECT_TIMEOUT_MS = 3_000;

/** How long an address is passed over that could not be reached, in milliseconds. */
const PASS_OVER_MS = 1_000;

/** How often a silent connection with calls is asked whether it is still there, in milliseconds. */
const PING_INTERVAL_MS = 30_000;

/** An address of the service, with a connection of its own. */
interface Replica {
  readonly transport: Transport;
  readonly connection: Http2SessionManager;
  /** Until when it is passed over, by `performance.now()`. */
  downUntil: number;
}

/** All addresses of the service, which take calls in turn. */
export class Addresses {
  readonly #options: TransportOptions;
  readonly #lookup: (host: string) => Promise<readonly LookupAddress[]>;
  readonly #host: string;
  #replicas = new Map<string, Replica>();
  /** Replicas that have gone, as far as calls to them had not ended when this was last looked at. */
  #gone: readonly Replica[] = [];
  #closedBy: Error | undefined;
  #turn = 0;
  #lookedUpAt = Number.NEGATIVE_INFINITY;
  #lookingUp: Promise<void> | undefined;

  constructor(options: TransportOptions, lookup: (host: string) => Promise<readonly LookupAddress[]>) {
    this.#options = options;
    this.#lookup = lookup;
    this.#host = new URL(options.baseUrl).hostname.replace(/^\[(.*)\]$/, "$1");
  }

  /**
   * The next address that can be reached.
   *
   * @throws {ConnectError} UNAVAILABLE when none can; CANCELED, DEADLINE_EXCEEDED; the reason of `close`.
   */
  async next(patience: Patience): Promise<Transport> {
    if (this.#closedBy !== undefined) throw this.#closedBy;
    if (this.#replicas.size === 0) await within(this.#lookUp(), patience, LOOKUP_TIMEOUT_MS);
    else if (this.#lookedUpAt + LOOKUP_INTERVAL_MS < performance.now()) this.#lookUp().catch(() => {});
    let failure: unknown = `${this.#host} has no address`;
    for (const replica of this.#inTurn()) {
      const { connection, transport } = replica;
      failure = await connect(connection, patience);
      if (failure === undefined) return transport;
      replica.downUntil = performance.now() + PASS_OVER_MS;
      this.#lookUp().catch(() => {});
    }
    throw unavailable(failure);
  }

  /** Closes all connections, and ends the calls on them with the reason. */
  close(reason: Error): void {
    this.#closedBy = reason;
    for (const { connection } of [...this.#gone, ...this.#replicas.values()]) connection.abort(reason);
  }

  /** All, beginning with the one whose turn it is. Those that are passed over come last: there may be no others. */
  #inTurn(): readonly Replica[] {
    const all = [...this.#replicas.values()];
    const turn = this.#turn++ % Math.max(1, all.length);
    const now = performance.now();
    return [...all.slice(turn), ...all.slice(0, turn)].sort(
      (one, other) => Number(one.downUntil > now) - Number(other.downUntil > now),
    );
  }

  #lookUp(): Promise<void> {
    this.#lookingUp ??= this.#update().finally(() => {
      this.#lookingUp = undefined;
    });
    return this.#lookingUp;
  }

  /** The connection of an address that is gone ends by itself, when its calls have. */
  async #update(): Promise<void> {
    this.#lookedUpAt = performance.now();
    const found = await this.#lookup(this.#host).catch((error: unknown) => {
      throw unavailable(error);
    });
    const before = this.#replicas;
    this.#replicas = new Map(
      found.map((address) => [address.address, before.get(address.address) ?? openReplica(address, this.#options)]),
    );
    const left = [...before].filter(([address]) => !this.#replicas.has(address)).map(([, replica]) => replica);
    this.#gone = [...this.#gone, ...left].filter(({ connection }) => connection.state() === "open");
  }
}

function openReplica({ address, family }: LookupAddress, options: TransportOptions): Replica {
  const { baseUrl, nodeOptions, interceptors } = options;
  // The name stays what it is, for certificates and for `:authority`: only where it leads to is known.
  const lookup = (_host: string, { all }: { all?: boolean }, done: (...result: unknown[]) => void) =>
    all === true ? done(null, [{ address, family }]) : done(null, address, family);
  const sessionOptions = { ...nodeOptions, lookup } as ConstructorParameters<typeof Http2SessionManager>[2];
  const connection = new Http2SessionManager(baseUrl, { pingIntervalMs: PING_INTERVAL_MS }, sessionOptions);
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager: connection,
    ...(interceptors !== undefined && { interceptors }),
  });
  return { transport, connection, downUntil: 0 };
}

/** Connects, if that is not done yet, and tells why it failed. Undefined: it did not. */
async function connect(connection: Http2SessionManager, patience: Patience): Promise<unknown> {
  const state = connection.state();
  if (state === "open" || state === "idle") return undefined;
  const result = await within(connection.connect(), patience, CONNECT_TIMEOUT_MS);
  if (result === "error") return connection.error() ?? "the connection was closed at once";
  if (result !== undefined) return undefined;
  const reason = new Error(`connecting took more than ${CONNECT_TIMEOUT_MS} ms`);
  connection.abort(reason);
  return reason;
}

function unavailable(reason: unknown): ConnectError {
  const { message } = reason as Partial<Error>;
  return new ConnectError(message ?? String(reason), Code.Unavailable, undefined, undefined, reason);
}
