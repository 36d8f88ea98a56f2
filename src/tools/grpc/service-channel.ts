import { unwatchFile, watchFile } from "node:fs";
import { Code } from "@connectrpc/connect";
import type { Client } from "@grpc/grpc-js";
import type { GrpcServiceConfig } from "../../config/tools-schema.ts";
import { ToolError } from "../tool.ts";
import type { OnProblem } from "./options.ts";
import { openClient, tlsPaths } from "./service-client.ts";

/** How often TLS files are looked at for a change, in milliseconds. */
const LOOK_INTERVAL_MS = 1_000;

/** A client that a call uses. */
export interface ClientLease extends Disposable {
  readonly client: Client;
}

/**
 * The connections to a service. TLS files that change are read anew: calls from then on use new connections, and those that
 * are in progress keep theirs. Files that do not fit together, as between the writing of one and of the other, leave the
 * old ones in use until the next change.
 */
export class ServiceChannel implements Disposable {
  readonly #config: GrpcServiceConfig;
  readonly #onProblem: OnProblem;
  readonly #closing = new AbortController();
  #current: SharedClient;

  /** @throws {Error} when a TLS file cannot be read, or the files cannot be used, or the target is none. */
  constructor(config: GrpcServiceConfig, onProblem: OnProblem) {
    this.#config = config;
    this.#onProblem = onProblem;
    this.#current = this.#open();
    for (const path of tlsPaths(config)) {
      watchFile(path, { interval: LOOK_INTERVAL_MS, persistent: false }, this.#renew);
    }
  }

  /** Aborted when the channel is closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** The client for a call. It remains open until the lease is disposed of. */
  lease(): ClientLease {
    return this.#current.lease();
  }

  #open(): SharedClient {
    return new SharedClient(openClient(this.#config, this.#config.responseBytes));
  }

  readonly #renew = () => {
    const old = this.#current;
    try {
      this.#current = this.#open();
    } catch (error) {
      this.#onProblem(
        error,
        `TLS files of the gRPC service ${this.#config.name} cannot be used: the old ones stay in use`,
      );
      return;
    }
    old.retire();
  };

  [Symbol.dispose](): void {
    for (const path of tlsPaths(this.#config)) unwatchFile(path, this.#renew);
    this.#closing.abort(new ToolError(Code.Unavailable, "the call was broken off: Parley shuts down"));
    this.#current.retire();
  }
}

/** Is closed when it is retired and nobody uses it any more: closing it would break off calls that wait to be sent. */
class SharedClient {
  readonly #client: Client;
  #users = 0;
  #isRetired = false;

  constructor(client: Client) {
    this.#client = client;
  }

  lease(): ClientLease {
    this.#users++;
    return {
      client: this.#client,
      [Symbol.dispose]: () => {
        this.#users--;
        this.#closeWhenUnused();
      },
    };
  }

  retire(): void {
    this.#isRetired = true;
    this.#closeWhenUnused();
  }

  #closeWhenUnused(): void {
    if (this.#isRetired && this.#users === 0) this.#client.close();
  }
}
