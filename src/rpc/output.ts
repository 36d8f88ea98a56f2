import type { ConnectError } from "@connectrpc/connect";

/**
 * What an RPC writes its messages to. A writer that awaits `wanted` after each batch is never ahead of a caller that has
 * stopped reading.
 */
export abstract class Output<T> {
  /** How many messages were sent. */
  sent = 0;

  /** Whether the caller waits for more: all that was sent before is on the wire. */
  abstract get isWanted(): boolean;

  /** Sends a message. After the end it is dropped. */
  abstract send(message: T): void;

  /**
   * Waits until the caller wants more. Undefined: it already does, which is worth not to wait for.
   *
   * @throws what the output failed with.
   */
  abstract wanted(): Promise<void> | undefined;

  /** Ends the output. The caller still gets what was sent. */
  abstract end(): void;

  /** Ends the output with an error, which the caller gets after what was sent. */
  abstract fail(error: ConnectError): void;
}
