import type { Client, ClientReadableStream, Metadata, ServiceError } from "@grpc/grpc-js";
import { CallFailure } from "./call-failure.ts";

/** A call to be made. */
export interface OutgoingCall {
  /** `/pkg.v1.Service/Method`. */
  readonly path: string;
  /** The request message. */
  readonly request: Buffer;
  readonly metadata: Metadata;
  /** When the call must be over, by `Date.now()`. */
  readonly deadline: number;
  /** Cancels the call. */
  readonly signal: AbortSignal;
}

const asIs = (bytes: Buffer) => bytes;

/**
 * Makes a unary call.
 *
 * @returns the response message.
 * @throws {CallFailure} when the call ends with another status than OK, and the signal's reason when it is aborted.
 */
export async function callUnary(client: Client, outgoing: OutgoingCall): Promise<Buffer> {
  const { path, request, metadata, deadline, signal } = outgoing;
  signal.throwIfAborted();
  const answer = Promise.withResolvers<Buffer>();
  let hasHeaders = false;
  const call = client.makeUnaryRequest(path, asIs, asIs, request, metadata, { deadline }, (error, response) => {
    if (error !== null) answer.reject(new CallFailure(error, hasHeaders));
    else answer.resolve(response ?? Buffer.alloc(0));
  });
  call.on("metadata", () => {
    hasHeaders = true;
  });
  const cancel = () => {
    answer.reject(signal.reason);
    call.cancel();
  };
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await answer.promise;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

/**
 * Makes a server-streaming call, which is cancelled when the iteration is left.
 *
 * @returns the response messages.
 * @throws {CallFailure} when the call ends with another status than OK, and the signal's reason when it is aborted.
 */
export async function* callStream(client: Client, outgoing: OutgoingCall): AsyncGenerator<Buffer, void, void> {
  const { path, request, metadata, deadline, signal } = outgoing;
  signal.throwIfAborted();
  const call: ClientReadableStream<Buffer> = client.makeServerStreamRequest(path, asIs, asIs, request, metadata, {
    deadline,
  });
  let hasHeaders = false;
  let received = 0;
  call.on("metadata", () => {
    hasHeaders = true;
  });
  // The iteration has a listener of its own, but not when it has been left: cancelling is an error, too.
  call.on("error", () => {});
  const cancel = () => call.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    for await (const message of call as AsyncIterable<Buffer>) {
      received++;
      yield message;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw new CallFailure(error as ServiceError, hasHeaders, received);
  } finally {
    signal.removeEventListener("abort", cancel);
    call.cancel();
  }
}
