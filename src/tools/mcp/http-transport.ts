import { AsyncLocalStorage } from "node:async_hooks";
import {
  isJSONRPCNotification,
  isJSONRPCRequest,
  isJSONRPCResponse,
  type JSONRPCMessage,
  type RequestId,
  SdkErrorCode,
  SdkHttpError,
  StreamableHTTPClientTransport,
} from "@modelcontextprotocol/client";
import { Agent } from "undici";
import { createBoundedFetch, type ResponseTooLarge } from "./bounded-fetch.ts";

/** As the class has it: it takes nothing that is set to undefined, unlike the interface that it implements. */
type SendOptions = NonNullable<Parameters<StreamableHTTPClientTransport["send"]>[1]>;

export interface HttpTransportOptions {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The most bytes of an answer, and of an event of a stream. */
  readonly maxBytes: number;
  /** How long connecting, and what needs no work of the server, may take in milliseconds. */
  readonly connectTimeoutMs: number;
  /** Told when the session, or the server, seems to be gone. */
  readonly onDoubt: (reason: unknown) => void;
}

/** How often a stream that broke is asked for again, and how long that waits at the most for the first time. */
const STREAM_RETRIES = 3;
const STREAM_RETRY_DELAY_MS = 250;

/** Marks the answers that this transport makes up, for requests that get none: `data` of a JSON-RPC error. */
class Unanswered {
  readonly cause: Error;

  constructor(cause: Error) {
    this.cause = cause;
  }
}

/** Why a request got no answer, from the `data` of its error. Undefined: it got one, the error. */
export function unansweredBecause(data: unknown): { readonly cause: Error } | undefined {
  return data instanceof Unanswered ? data : undefined;
}

/**
 * The SDK's transport over streamable HTTP, with what it lacks here: bounds on what is read; requests that are cancelled, or
 * whose stream ends without an answer, are over at once and leave nothing open; notifications end in time; and it tells when
 * the session is in doubt.
 */
export class HttpTransport extends StreamableHTTPClientTransport {
  readonly #options: HttpTransportOptions;
  readonly #agent: Agent;
  readonly #tooLarge: AsyncLocalStorage<(error: ResponseTooLarge) => void>;
  /** Requests that have no answer yet. */
  readonly #open = new Map<RequestId, AbortController>();
  readonly #retries: Set<NodeJS.Timeout>;
  /** Whether a stream broke. Some servers answer 404 to those who ask for one at all: that says nothing. */
  readonly #broke: { stream: boolean };

  constructor(options: HttpTransportOptions) {
    const retries = new Set<NodeJS.Timeout>();
    const broke = { stream: false };
    const tooLarge = new AsyncLocalStorage<(error: ResponseTooLarge) => void>();
    // Calls have their own deadlines, and streams may be silent.
    const connect = { timeout: options.connectTimeoutMs };
    const agent = new Agent({ connect, headersTimeout: 0, bodyTimeout: 0, allowH2: false });
    super(new URL(options.url), {
      requestInit: { headers: options.headers },
      fetch: createBoundedFetch(agent, options.maxBytes, tooLarge),
      reconnectionOptions: {
        initialReconnectionDelay: STREAM_RETRY_DELAY_MS,
        maxReconnectionDelay: STREAM_RETRY_DELAY_MS * 2 ** STREAM_RETRIES,
        reconnectionDelayGrowFactor: 2,
        maxRetries: STREAM_RETRIES,
      },
      // The SDK remembers the timer of one stream only, and has no jitter.
      reconnectionScheduler: (reconnect, delay) => {
        broke.stream = true;
        const timer = setTimeout(() => {
          retries.delete(timer);
          reconnect();
        }, Math.random() * delay);
        retries.add(timer);
      },
    });
    this.#options = options;
    this.#agent = agent;
    this.#tooLarge = tooLarge;
    this.#retries = retries;
    this.#broke = broke;
    this.onerror = (error) => {
      if (this.#endsSession(error)) options.onDoubt(error);
    };
    this.onmessage = (message) => {
      if (isJSONRPCResponse(message) && message.id !== undefined) this.#open.delete(message.id);
    };
  }

  override async send(message: JSONRPCMessage, options?: SendOptions): Promise<void> {
    if (isJSONRPCRequest(message) && options?.onRequestStreamEnd === undefined)
      return this.#request(message.id, message, options);
    if (isJSONRPCNotification(message) && message.method === "notifications/cancelled")
      this.#abandon(message.params?.requestId);
    if (isJSONRPCRequest(message)) return super.send(message, options);
    // The SDK waits for as long as it takes for what is not a request.
    return super.send(message, { ...options, requestSignal: AbortSignal.timeout(this.#options.connectTimeoutMs) });
  }

  async #request(id: RequestId, message: JSONRPCMessage, options: SendOptions | undefined): Promise<void> {
    const controller = new AbortController();
    this.#open.set(id, controller);
    const signals = [controller.signal, ...(options?.requestSignal === undefined ? [] : [options.requestSignal])];
    const fail = (cause: Error) => {
      if (!this.#open.has(id)) return;
      const error = { code: 0, message: cause.message, data: new Unanswered(cause) };
      this.onmessage?.({ jsonrpc: "2.0", id, error });
      controller.abort();
    };
    try {
      await this.#tooLarge.run(fail, () =>
        super.send(message, {
          ...options,
          requestSignal: AbortSignal.any(signals),
          onRequestStreamEnd: () => fail(new Error("the connection was lost")),
        }),
      );
    } catch (error) {
      this.#open.delete(id);
      throw error;
    }
  }

  /** Closes what is open for a request that was cancelled: the server need not do it. */
  #abandon(id: unknown): void {
    this.#open.get(id as RequestId)?.abort();
    this.#open.delete(id as RequestId);
  }

  /** Whether an error means that a new connection is needed. */
  #endsSession(error: unknown): boolean {
    // What `fetch` throws when there is no connection.
    if (error instanceof TypeError) return true;
    if (!(error instanceof SdkHttpError)) return false;
    // The token may have been renewed.
    if (error.status === 401) return true;
    // MCP wants 404 for a session that is gone, but servers answer 400 as well.
    if (this.sessionId === undefined || (error.status !== 404 && error.status !== 400)) return false;
    return error.code !== SdkErrorCode.ClientHttpFailedToOpenStream || this.#broke.stream;
  }

  override async close(): Promise<void> {
    for (const timer of this.#retries) clearTimeout(timer);
    await super.close();
    await this.#agent.destroy();
  }
}
