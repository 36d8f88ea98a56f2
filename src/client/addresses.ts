import type { LookupAddress } from "node:dns";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { FOR_EVER_MS, type Patience, within } from "./patience.ts";
import { Replica } from "./replica.ts";
import type { TransportOptions } from "./transport-options.ts";

/** How often the name is looked up, as long as there are calls, in milliseconds. And at once when an address fails. */
const LOOKUP_INTERVAL_MS = 10_000;

/** How long a call waits for a look-up, in milliseconds. */
const LOOKUP_TIMEOUT_MS = 10_000;

/** How long a call waits for a connection while there are others to try, in milliseconds: as RFC 8305 (5) has it. */
const HEAD_START_MS = 250;

/** All addresses of the service, which take calls in turn. */
export class Addresses {
  readonly #options: TransportOptions;
  readonly #lookup: (host: string) => Promise<readonly LookupAddress[]>;
  readonly #host: string;
  readonly #closing = new AbortController();
  #replicas = new Map<string, Replica>();
  /** Replicas that have gone, as far as connections to them had not closed when this was last looked at. */
  #gone: readonly Replica[] = [];
  #turn = 0;
  #lookedUpAt = Number.NEGATIVE_INFINITY;
  #lookingUp: Promise<void> | undefined;

  constructor(options: TransportOptions, lookup: (host: string) => Promise<readonly LookupAddress[]>) {
    this.#options = options;
    this.#lookup = lookup;
    this.#host = new URL(options.baseUrl).hostname.replace(/^\[(.*)\]$/, "$1");
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /**
   * The next address that can be reached. Nobody waits for one that cannot, as long as another can.
   *
   * @throws {ConnectError} UNAVAILABLE when none can; CANCELED, DEADLINE_EXCEEDED; the reason of `close`.
   */
  async next(signal: AbortSignal | undefined, deadline: number): Promise<Transport> {
    const closing = this.#closing.signal;
    closing.throwIfAborted();
    const patience: Patience = { signals: signal === undefined ? [closing] : [closing, signal], deadline };
    if (this.#replicas.size === 0) await within(this.#lookUp(), patience, LOOKUP_TIMEOUT_MS);
    else if (this.#lookedUpAt + LOOKUP_INTERVAL_MS < performance.now()) this.#lookUp().catch(() => {});
    const replicas = this.#inTurn();
    for (const replica of replicas) if (replica.isDue) this.#reach(replica).catch(() => {});
    for (const replica of replicas) {
      if (replica.isDoubtful) continue;
      const reached = await within(
        this.#reach(replica).catch(() => {}),
        patience,
        HEAD_START_MS,
      );
      if (reached !== undefined) return reached;
      replica.isDoubtful = true;
    }
    return await this.#any(replicas, patience);
  }

  /** Closes all connections, and ends the calls on them with the reason. */
  close(reason: Error): void {
    this.#closing.abort(reason);
    for (const replica of [...this.#gone, ...this.#replicas.values()]) replica.close(reason);
  }

  /** All, beginning with the one whose turn it is. */
  #inTurn(): readonly Replica[] {
    const all = [...this.#replicas.values()];
    const turn = this.#turn++ % Math.max(1, all.length);
    return [...all.slice(turn), ...all.slice(0, turn)];
  }

  async #any(replicas: readonly Replica[], patience: Patience): Promise<Transport> {
    if (replicas.length === 0) {
      throw unavailable(
        `${this.#host} ${this.#lookingUp === undefined ? "has no address" : "is still being looked up"}`,
      );
    }
    const first = Promise.any(replicas.map((replica) => this.#reach(replica)));
    const failed = (error: AggregateError) => Promise.reject(unavailable(error.errors[0]));
    return (await within(first.catch(failed), patience, FOR_EVER_MS)) as Transport;
  }

  #reach(replica: Replica): Promise<Transport> {
    const reaching = replica.reach();
    reaching.catch(() => this.#lookUp().catch(() => {}));
    return reaching;
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
    this.#closing.signal.throwIfAborted();
    const before = this.#replicas;
    this.#replicas = new Map(
      found.map((address) => [address.address, before.get(address.address) ?? new Replica(address, this.#options)]),
    );
    const left = [...before].filter(([address]) => !this.#replicas.has(address)).map(([, replica]) => replica);
    this.#gone = [...this.#gone, ...left].filter(({ isConnected }) => isConnected);
  }
}

function unavailable(reason: unknown): ConnectError {
  return new ConnectError(ConnectError.from(reason).rawMessage, Code.Unavailable, undefined, undefined, reason);
}
