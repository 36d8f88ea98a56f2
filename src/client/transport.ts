import { lookup } from "node:dns/promises";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { Addresses } from "./addresses.ts";
import { judgeLostConnection } from "./lost-connection.ts";
import type { TransportOptions } from "./transport-options.ts";
import { isUnprocessed } from "./unprocessed.ts";

export type { TransportOptions };

/** How often a call is sent at the most, the first time included. */
const MAX_ATTEMPTS = 5;

/**
 * A transport for Connect clients, which spreads calls over all replicas of Parley and loses none to a rollout.
 *
 * It speaks gRPC. A call that no replica has processed, because it could not be reached or was about to close the
 * connection, goes to the next one, within the deadline of the call. All other failures are the caller's to judge: Parley
 * has retried what is safe to retry, and what it has worked on has cost something. A lost connection is UNAVAILABLE.
 *
 * Connections keep no process from ending, and close when they have been idle for 15 minutes. `[Symbol.dispose]` closes
 * them at once.
 */
export function createTransport(options: TransportOptions): Transport & Disposable {
  const addresses = new Addresses(options, options.lookup ?? ((host) => lookup(host, { all: true })));

  /** Calls that end because the caller, or the transport, wants them to have lost nothing. */
  const judge = (error: unknown, signal: AbortSignal | undefined) =>
    signal?.aborted || addresses.isClosed ? error : judgeLostConnection(error);

  async function send<T>(
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    maxAttempts: number,
    attempt: (transport: Transport, timeoutMs: number | undefined) => Promise<T>,
  ): Promise<T> {
    // 0 and less: no deadline, as in Connect's own transports.
    const hasDeadline = timeoutMs !== undefined && timeoutMs > 0;
    const deadline = hasDeadline ? performance.now() + timeoutMs : Number.POSITIVE_INFINITY;
    for (let attempts = 1; ; attempts++) {
      const transport = await addresses.next(signal, deadline);
      try {
        return await attempt(
          transport,
          hasDeadline ? Math.max(1, Math.round(deadline - performance.now())) : undefined,
        );
      } catch (error) {
        if (attempts === maxAttempts || !isUnprocessed(error)) throw judge(error, signal);
      }
    }
  }

  return {
    unary: (method, signal, timeoutMs, header, input, contextValues) =>
      send(signal, timeoutMs, MAX_ATTEMPTS, (transport, left) =>
        transport.unary(method, signal, left, header, input, contextValues),
      ),
    stream: (method, signal, timeoutMs, header, input, contextValues) => {
      // A request that is a stream itself can be read, and so be sent, only once.
      const isOneMessage = method.methodKind === "server_streaming";
      const requests = isOneMessage ? replayable(input) : input;
      return send(signal, timeoutMs, isOneMessage ? MAX_ATTEMPTS : 1, (transport, left) =>
        transport.stream(method, signal, left, header, requests, contextValues),
      ).then((response) => ({ ...response, message: judged(response.message, (error) => judge(error, signal)) }));
    },
    [Symbol.dispose]: () => addresses.close(new ConnectError("the transport has been closed", Code.Canceled)),
  };
}

/** What can be read again and again, of what can be read once. */
function replayable<T>(input: AsyncIterable<T>): AsyncIterable<T> {
  let read: Promise<T[]> | undefined;
  return {
    async *[Symbol.asyncIterator]() {
      read ??= Array.fromAsync(input);
      yield* await read;
    },
  };
}

/** The same messages, with another error at their end. */
async function* judged<T>(messages: AsyncIterable<T>, judge: (error: unknown) => unknown): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw judge(error);
  }
}
