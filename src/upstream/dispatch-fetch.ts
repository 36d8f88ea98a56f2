import type { IncomingHttpHeaders } from "node:http";
import type { Dispatcher } from "undici";
import type { ByteSink, ByteSource } from "./byte-source.ts";
import { restoreRawJson } from "./raw-json.ts";
import { connectionError, malformed } from "./upstream-errors.ts";

/** The most bytes that a response may have that is not streamed: a page of models, or an error. */
const MAX_BUFFERED_BYTES = 16 * 1024 * 1024;

/** How long a response may go on of which nothing more matters, in milliseconds. */
const LINGER_MS = 2_000;

export interface DispatchFetchOptions {
  readonly dispatcher: Dispatcher;
  /** How long a response may keep its status line waiting, in milliseconds. */
  readonly firstByteTimeoutMs: number;
  /** How long a response may send nothing, in milliseconds. */
  readonly idleTimeoutMs: number;
}

/** The body of a streamed response: what the `fetch` below puts in the place of a ReadableStream. */
interface StreamedBody extends ByteSource {
  readonly streamed: true;
}

/** Whether the body is one that `createDispatchFetch` streams. */
export function isStreamed(body: unknown): body is StreamedBody {
  return typeof body === "object" && body !== null && (body as Partial<StreamedBody>).streamed === true;
}

/**
 * The part of a request's init that aborts the `fetch` below. The SDK hands it on as it is: a `signal` it would listen to,
 * make another of, and watch for both to be forgotten.
 */
export function abortedBy(callSignal: AbortSignal): object {
  return { callSignal } satisfies CallInit;
}

interface CallInit {
  readonly callSignal?: AbortSignal;
}

/**
 * A `fetch` for the SDK, on undici's `dispatch`. Against the built-in one it saves more than half of the time of a
 * call, and gives what streams need: bytes that are pushed and can be paused, and watchdogs on them.
 *
 * A `text/event-stream` resolves at its headers, with a StreamedBody. Everything else is read whole first. RawJson in
 * the request's body is put back into its exact form.
 */
export function createDispatchFetch(options: DispatchFetchOptions): typeof fetch {
  return (input, init = {}) =>
    new Promise<Response>((resolve, reject) => {
      const url = new URL(typeof input === "string" || input instanceof URL ? input : input.url);
      const signal = (init as CallInit).callSignal ?? init.signal ?? undefined;
      const exchange = new Exchange(signal, resolve, reject);
      if (exchange.isOver) return;
      options.dispatcher.dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method: (init.method ?? "GET") as Dispatcher.HttpMethod,
          headers: init.headers as Headers,
          body:
            typeof init.body === "string"
              ? restoreRawJson(init.body)
              : ((init.body as Uint8Array | null | undefined) ?? null),
          headersTimeout: options.firstByteTimeoutMs,
          bodyTimeout: options.idleTimeoutMs,
        },
        exchange,
      );
    });
}

/** One request and its response. */
class Exchange implements Dispatcher.DispatchHandler, StreamedBody {
  readonly streamed = true;
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: (response: Response) => void;
  readonly #reject: (error: unknown) => void;
  readonly #onAbort = () => this.abort(this.#signal?.reason as Error);
  #controller: Dispatcher.DispatchController | undefined;
  /** What arrived before `start`, and all of a body that is read whole. */
  #chunks: Uint8Array[] = [];
  #bufferedBytes = 0;
  #head: ResponseInit | undefined;
  #sink: ByteSink | undefined;
  #ended = false;
  #lingering: NodeJS.Timeout | undefined;
  #error: Error | undefined;

  constructor(
    signal: AbortSignal | undefined,
    resolve: (response: Response) => void,
    reject: (error: unknown) => void,
  ) {
    this.#signal = signal;
    this.#resolve = resolve;
    this.#reject = reject;
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Whether the exchange has ended, well or not. */
  get isOver(): boolean {
    return this.#ended || this.#error !== undefined;
  }

  // The request, as undici's dispatcher reports on it.

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#error !== undefined) controller.abort(this.#error);
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // They are views of the first chunk of the response, and would keep it as long as the request lasts.
    controller.rawHeaders = null;
    if (this.isOver || status < 200) return;
    if (status === 200 && headers["content-type"]?.toLowerCase().startsWith("text/event-stream")) {
      this.#resolve(streamedResponse(headers, this));
    } else {
      this.#head = { status, headers: toHeaders(headers) };
    }
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.isOver) return;
    if (this.#sink !== undefined) {
      this.#sink.data(chunk);
      return;
    }
    this.#chunks.push(chunk);
    this.#bufferedBytes += chunk.length;
    if (this.#bufferedBytes > MAX_BUFFERED_BYTES) this.abort(new Error("the response is too large"));
  }

  onResponseEnd(): void {
    if (this.isOver) return;
    let whole: Response | undefined;
    try {
      if (this.#head !== undefined) whole = new Response(Buffer.concat(this.#chunks), this.#head);
    } catch (error) {
      // A status that no response with a body can have, such as 204 and 600.
      this.#fail(malformed(error));
      return;
    }
    this.#ended = true;
    clearTimeout(this.#lingering);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    if (whole === undefined) this.#sink?.end();
    else this.#resolve(whole);
  }

  onResponseError(_: Dispatcher.DispatchController | undefined, error: Error): void {
    this.#fail(error);
  }

  // The body, as its reader sees it.

  start(sink: ByteSink): void {
    this.#sink = sink;
    for (const chunk of this.#chunks) sink.data(chunk);
    this.#chunks = [];
    if (this.#error !== undefined) sink.fail(this.#error);
    else if (this.#ended) sink.end();
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  release(): void {
    if (this.isOver) return;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#lingering = setTimeout(() => this.abort(new Error("the response does not end")), LINGER_MS).unref();
  }

  abort(reason: Error): void {
    if (this.isOver) return;
    this.#fail(reason);
    this.#controller?.abort(reason);
  }

  #fail(error: Error): void {
    if (this.isOver) return;
    this.#error = error;
    clearTimeout(this.#lingering);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#reject(connectionError(error));
    this.#sink?.fail(error);
  }
}

function toHeaders(incoming: IncomingHttpHeaders): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  return headers;
}

/** The parts of a Response, and of its Headers, that are touched before the body is handed over. */
function streamedResponse(headers: IncomingHttpHeaders, body: StreamedBody): Response {
  return { ok: true, status: 200, headers: new Map(Object.entries(headers)), url: "", body } as unknown as Response;
}
