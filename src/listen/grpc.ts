import { fromBinary, fromJsonString, type Message } from "@bufbuild/protobuf";
import { ConnectError, createHandlerContext } from "@connectrpc/connect";
import {
  compressionNegotiate,
  pipe,
  transformDecompressEnvelope,
  transformSplitEnvelope,
  type UniversalHandlerFn,
  type UniversalServerRequest,
} from "@connectrpc/connect/protocol";
import {
  contentTypeJson,
  contentTypeProto,
  grpcStatusOk,
  headerAcceptEncoding,
  headerContentType,
  headerEncoding,
  headerGrpcStatus,
  headerTimeout,
  parseContentType,
  parseTimeout,
  setTrailerStatus,
} from "@connectrpc/connect/protocol-grpc";
import { ParleyError } from "../errors/parley-error.ts";
import { requestFault } from "../errors/request-fault.ts";
import { callFailure } from "../interceptors/run-call.ts";
import type { Call, Method } from "../rpc/call.ts";
import type { Output } from "../rpc/output.ts";
import { encodeMessages } from "./envelope.ts";
import { openCall, openOutput, runMethod, type ServeOptions } from "./serve.ts";

/** Whether a request is gRPC, as opposed to gRPC-Web and Connect. */
export function isGrpc(contentType: string): boolean {
  return parseContentType(contentType) !== undefined;
}

/**
 * Serves a method over gRPC.
 *
 * Connect's own handler passes each message through a chain of async generators, which costs several times what the
 * message itself does. Here all messages that were sent in one turn of the event loop become one chunk, written once.
 * Protocol details (timeouts, compression, status trailers) are Connect's.
 */
export function createGrpcHandler(method: Method, options: ServeOptions): UniversalHandlerFn {
  const { desc } = method;
  return async (request) => {
    const binary = parseContentType(request.header.get(headerContentType))?.binary ?? true;
    const timeout = parseTimeout(request.header.get(headerTimeout), options.maxTimeoutMs);
    const compression = compressionNegotiate(
      options.acceptCompression,
      request.header.get(headerEncoding),
      request.header.get(headerAcceptEncoding),
      headerAcceptEncoding,
    );
    const context = createHandlerContext({
      service: desc.parent,
      method: desc,
      protocolName: "grpc",
      requestMethod: request.method,
      url: request.url,
      ...(timeout.timeoutMs !== undefined && { timeoutMs: timeout.timeoutMs }),
      shutdownSignal: options.shutdownSignal,
      requestSignal: request.signal,
      requestHeader: request.header,
      responseHeader: {
        [headerContentType]: binary ? contentTypeProto : contentTypeJson,
        [headerAcceptEncoding]: options.acceptCompression.map(({ name }) => name).join(","),
      },
      ...(request.contextValues !== undefined && { contextValues: request.contextValues }),
    });
    const call = openCall(context);
    const out = openOutput(call);

    async function run(): Promise<void> {
      let input: Message;
      try {
        if (timeout.error !== undefined) throw timeout.error;
        if (compression.error !== undefined) throw compression.error;
        const bytes = await readMessage(request, compression.request, options.readMaxBytes);
        input = binary
          ? fromBinary(desc.input, bytes)
          : fromJsonString(desc.input, new TextDecoder("utf-8", { fatal: true }).decode(bytes));
      } catch (error) {
        out.fail(callFailure(call, requestFault(error)));
        return;
      }
      await runMethod(method, input, call, options, out);
    }

    void run();
    return {
      status: 200,
      header: context.responseHeader,
      trailer: context.responseTrailer,
      body: new GrpcBody(out, call, context, (messages) => encodeMessages(desc.output, messages, binary)),
    };
  };
}

/** The one message of a request. Any other number is UNIMPLEMENTED, says gRPC (grpc/grpc, doc/statuscodes.md). */
async function readMessage(
  request: UniversalServerRequest,
  compression: ReturnType<typeof compressionNegotiate>["request"],
  readMaxBytes: number,
): Promise<Uint8Array> {
  const envelopes = pipe(
    request.body as AsyncIterable<Uint8Array>,
    transformSplitEnvelope(readMaxBytes),
    transformDecompressEnvelope(compression, readMaxBytes),
  );
  let message: Uint8Array | undefined;
  for await (const envelope of envelopes) {
    if (message !== undefined) throw new ParleyError("NOT_IMPLEMENTED", "the request has more than one message");
    message = envelope.data;
  }
  if (message === undefined) throw new ParleyError("NOT_IMPLEMENTED", "the request has no message");
  return message;
}

type Controller = ReturnType<typeof createHandlerContext>;

/** The body of a response, and with its end the status in the trailer. */
class GrpcBody implements AsyncIterableIterator<Uint8Array, undefined> {
  readonly #out: Output<Message>;
  readonly #call: Call;
  readonly #context: Controller;
  readonly #encode: (messages: readonly Message[]) => Iterator<Uint8Array, undefined>;
  #chunks: Iterator<Uint8Array, undefined> | undefined;

  constructor(
    out: Output<Message>,
    call: Call,
    context: Controller,
    encode: (messages: readonly Message[]) => Iterator<Uint8Array, undefined>,
  ) {
    this.#out = out;
    this.#call = call;
    this.#context = context;
    this.#encode = encode;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const trailer = this.#context.responseTrailer;
    try {
      for (;;) {
        const chunk = this.#chunks?.next();
        if (chunk?.done === false) return chunk;
        const { done, value } = await this.#out.next();
        if (done) break;
        this.#chunks = this.#encode(value);
      }
      trailer.set(headerGrpcStatus, grpcStatusOk);
    } catch (error) {
      setTrailerStatus(trailer, error instanceof ConnectError ? error : callFailure(this.#call, error));
    }
    this.#context.abort();
    return { done: true, value: undefined };
  }

  /** The response is over, or cannot be written. */
  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#context.abort();
    return this.#out.return() as Promise<IteratorResult<never, undefined>>;
  }

  throw(): Promise<IteratorResult<Uint8Array, undefined>> {
    return this.return();
  }
}
