import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { fromBinary, fromJsonString, type Message } from "@bufbuild/protobuf";
import {
  compressionNegotiate,
  createAsyncIterable,
  pipe,
  transformDecompressEnvelope,
  transformSplitEnvelope,
} from "@connectrpc/connect/protocol";
import {
  contentTypeJson,
  contentTypeProto,
  headerAcceptEncoding,
  parseContentType,
} from "@connectrpc/connect/protocol-grpc";
import { ParleyError } from "../errors/parley-error.ts";
import { requestFault } from "../errors/request-fault.ts";
import { callFailure } from "../interceptors/run-call.ts";
import type { Call, CallRecord, Method } from "../rpc/call.ts";
import type { CallTimeout } from "./deadline.ts";
import { EnvelopeWriter, PREFIX_LENGTH, wholeMessage } from "./envelope.ts";
import { hangUp, LAST_WORDS_MS, limitBodyTime } from "./exchange.ts";
import { GrowingBuffer } from "./growing-buffer.ts";
import { GrpcOutput } from "./grpc-output.ts";
import { isUnary, runMethod, type ServeOptions } from "./serve.ts";

/** Whether a request is gRPC, as opposed to gRPC-Web and Connect. */
export function isGrpc(contentType: string): boolean {
  return parseContentType(contentType) !== undefined;
}

/** A call as it comes in: its header is there, its message is not. */
export interface GrpcRequest {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly record: CallRecord;
  readonly timeout: CallTimeout;
  /** How long the body may take to arrive, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** What the header of the response has besides that of the protocol. */
  readonly responseHeader: OutgoingHttpHeaders;
}

export type GrpcHandler = (request: GrpcRequest) => void;

/**
 * Serves a method over gRPC on HTTP/2.
 *
 * Connect's own handler brings a call through two more forms of request and response, and each message through a chain of
 * async generators, which costs several times what the call itself does. Here a call is one object beside its HTTP/2
 * stream. Protocol details (timeouts, compression, the status) are Connect's.
 */
export function createGrpcHandler(method: Method, options: ServeOptions): GrpcHandler {
  const { output } = method.desc;
  const write = isUnary(method) ? undefined : method.write;
  const acceptEncoding = options.acceptCompression.map(({ name }) => name).join(",");
  const form = (contentType: string, writer: EnvelopeWriter): Form => ({
    header: { "content-type": contentType, "grpc-accept-encoding": acceptEncoding },
    writer,
  });
  const forms = {
    binary: form(contentTypeProto, new EnvelopeWriter(output, true, write)),
    json: form(contentTypeJson, new EnvelopeWriter(output, false)),
  };
  const running = new Set<GrpcCall>();
  const { shutdownSignal } = options;
  shutdownSignal.addEventListener("abort", () => {
    for (const call of running) call.abort(shutdownSignal.reason);
  });
  return (request) => {
    const { stream, requestTimeoutMs } = request;
    const call = new GrpcCall(method, options, forms, request);
    running.add(call);
    limitBodyTime(stream, requestTimeoutMs, (error) => call.refuse(error));
    stream.once("close", () => {
      running.delete(call);
      call.close();
    });
  };
}

/** What all responses of a method have in common that are in the same form, binary or JSON. */
interface Form {
  readonly header: OutgoingHttpHeaders;
  readonly writer: EnvelopeWriter;
}

/** A call from its header to its end. */
class GrpcCall implements Call {
  readonly record: CallRecord;
  readonly deadline: number;
  readonly #method: Method;
  readonly #options: ServeOptions;
  readonly #isBinary: boolean;
  readonly header: Call["header"];
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  readonly #out: GrpcOutput;
  /** What has arrived of the body, until it is read. */
  #body: GrowingBuffer | undefined = new GrowingBuffer();

  constructor(
    method: Method,
    options: ServeOptions,
    forms: { readonly binary: Form; readonly json: Form },
    { stream, headers, record, timeout, responseHeader }: GrpcRequest,
  ) {
    this.record = record;
    this.#method = method;
    this.#options = options;
    this.#isBinary = parseContentType(headers["content-type"] ?? "")?.binary ?? true;
    this.header = headerReader(headers);
    const { header, writer } = this.#isBinary ? forms.binary : forms.json;
    this.#out = new GrpcOutput(stream, writer, { ...header, ...responseHeader }, (error) => callFailure(this, error));
    const { timeoutMs } = timeout;
    this.deadline = performance.now() + (timeoutMs ?? Number.POSITIVE_INFINITY);
    if (timeoutMs !== undefined) this.#timer = setTimeout(() => this.#expire(stream), timeoutMs);
    stream.on("data", (chunk: Buffer) => this.#receive(chunk));
    stream.once("end", () => this.#read());
    stream.once("aborted", () => this.close());
    if (timeout.error !== undefined) this.refuse(timeout.error);
    else if (options.shutdownSignal.aborted) this.abort(options.shutdownSignal.reason);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends the call for a reason that lies outside of it. */
  abort(reason: unknown): void {
    if (this.#out.hasEnded) return;
    this.#body = undefined;
    this.#controller.abort(reason);
    this.#out.fail(callFailure(this));
  }

  /** Ends a call whose request cannot be read. */
  refuse(error: unknown): void {
    if (this.#out.hasEnded) return;
    this.#body = undefined;
    this.#out.fail(callFailure(this, requestFault(error)));
  }

  /** The stream is closed: nothing can be written any more. */
  close(): void {
    clearTimeout(this.#timer);
    this.#out.leave();
    if (!this.#out.hasEnded) this.abort(new ParleyError("CANCELLED", "the caller has cancelled the call"));
  }

  #expire(stream: ServerHttp2Stream): void {
    this.abort(new ParleyError("DEADLINE_EXCEEDED", "the deadline of the call has passed"));
    this.#timer = setTimeout(() => hangUp(this.record, stream), LAST_WORDS_MS);
  }

  #receive(chunk: Buffer): void {
    if (this.#body === undefined) return;
    this.#body.append(chunk);
    const { readMaxBytes } = this.#options;
    const { bytes } = this.#body;
    if (bytes.length <= PREFIX_LENGTH + readMaxBytes) return;
    // It is too large, or there is another behind it.
    if (bytes.readUInt32BE(1) > readMaxBytes) this.#read();
    else this.refuse(moreThanOne());
  }

  #read(): void {
    const bytes = this.#body?.bytes;
    if (bytes === undefined) return;
    this.#body = undefined;
    const message =
      this.header("grpc-encoding") === undefined ? wholeMessage(bytes, this.#options.readMaxBytes) : undefined;
    if (message !== undefined) this.#run(message);
    else
      this.#readMessage(bytes).then(
        (slowly) => this.#run(slowly),
        (error: unknown) => this.refuse(error),
      );
  }

  #run(bytes: Uint8Array): void {
    if (this.#out.hasEnded) return;
    const { input } = this.#method.desc;
    let message: Message;
    try {
      message = this.#isBinary
        ? fromBinary(input, bytes)
        : fromJsonString(input, new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch (error) {
      this.refuse(error);
      return;
    }
    void runMethod(this.#method, message, this, this.#options, this.#out);
  }

  /** The one message of a request. Any other number is UNIMPLEMENTED, says gRPC (grpc/grpc, doc/statuscodes.md). */
  async #readMessage(body: Buffer): Promise<Uint8Array> {
    const { acceptCompression, readMaxBytes } = this.#options;
    const compression = compressionNegotiate(
      acceptCompression,
      this.header("grpc-encoding") ?? null,
      null,
      headerAcceptEncoding,
    );
    if (compression.error !== undefined) throw compression.error;
    const envelopes = pipe(
      createAsyncIterable([body]),
      transformSplitEnvelope(readMaxBytes),
      transformDecompressEnvelope(compression.request, readMaxBytes),
    );
    let message: Uint8Array | undefined;
    for await (const envelope of envelopes) {
      if (message !== undefined) throw moreThanOne();
      message = envelope.data;
    }
    if (message === undefined) throw new ParleyError("NOT_IMPLEMENTED", "the request has no message");
    return message;
  }
}

/** Holds on to the headers alone, not to the call. */
function headerReader(headers: IncomingHttpHeaders): Call["header"] {
  return (name) => {
    const value = headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  };
}

function moreThanOne(): ParleyError {
  return new ParleyError("NOT_IMPLEMENTED", "the request has more than one message");
}
