import Anthropic, { APIError, type ClientOptions } from "@anthropic-ai/sdk";
import { Agent, EnvHttpProxyAgent } from "undici";
import type { Credential } from "../config/credential.ts";
import type { ProxySettings } from "../config/environment.ts";
import { ClaudeError } from "../errors/claude-error.ts";
import { isTelling } from "../errors/failure.ts";
import type { ByteSource } from "./byte-source.ts";
import { credentialOptions } from "./credentials.ts";
import { abortedBy, createDispatchFetch, isStreamed } from "./dispatch-fetch.ts";
import { MessageStream } from "./message-stream.ts";
import { PreparedRequests } from "./prepared-requests.ts";
import { elements, members } from "./raw-json.ts";
import type { Upstream, UpstreamOptions } from "./upstream.ts";
import { malformed, requestError } from "./upstream-errors.ts";
import { eventStreamOf } from "./whole-message.ts";

export interface AnthropicOptions {
  readonly baseUrl: string;
  readonly credential: Credential;
  /** Value of `anthropic-workspace-id`, for a key that can act on several workspaces. */
  readonly workspaceId: string | undefined;
  /** Proxies to reach Claude through. */
  readonly proxy: ProxySettings | undefined;
  readonly connectTimeoutMs: number;
  /** How long Claude may take to begin an answer, in milliseconds. */
  readonly firstByteTimeoutMs: number;
  /** How long Claude may send nothing in the middle of an answer, in milliseconds. It sends a ping every few seconds. */
  readonly idleTimeoutMs: number;
  /** Is told of the header of each response about a model, also of those that are errors. */
  readonly onHeader?: ((header: ResponseHeader, model: string) => void) | undefined;
}

/** Value of a header of a response, by its name in small letters. Nothing: it has none. */
export type ResponseHeader = (name: string) => string | null | undefined;

/** How long a connection is kept for the next request. Below the idle timeouts of common load balancers (60 s). */
const KEEP_ALIVE_MS = 50_000;

/** What a socket may read ahead. At Node's default, 64 KiB, one that is paused nearly always holds twice as much. */
const SOCKET_HIGH_WATER_BYTES = 16 * 1024;

/** The SDK's own timer, which ends with the headers, must not fire before ours: 24 days is the longest of a timer. */
const SDK_TIMEOUT_MS = 2_147_483_647;

/**
 * Claude through the official SDK, which builds requests, authenticates them and reads errors. Requests for answers, of
 * which there are many, are sent with what it has built once (see PreparedRequests).
 */
export function createAnthropicUpstream(options: AnthropicOptions): Upstream {
  const pool = {
    connect: { timeout: options.connectTimeoutMs, highWaterMark: SOCKET_HIGH_WATER_BYTES },
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    pipelining: 1,
    // A connection of its own for each call: no call waits for the flow control or the packet loss of another.
    allowH2: false,
  };
  const dispatcher =
    options.proxy === undefined ? new Agent(pool) : new EnvHttpProxyAgent({ ...pool, ...options.proxy });
  const dispatchFetch = createDispatchFetch({
    dispatcher,
    firstByteTimeoutMs: options.firstByteTimeoutMs,
    idleTimeoutMs: options.idleTimeoutMs,
  });
  const prepared = new PreparedRequests(options.credential, dispatchFetch);
  const clientOptions: ClientOptions = {
    ...credentialOptions(options.credential),
    baseURL: options.baseUrl,
    defaultHeaders: options.workspaceId === undefined ? {} : { "anthropic-workspace-id": options.workspaceId },
    fetch: dispatchFetch,
    maxRetries: 0,
    timeout: SDK_TIMEOUT_MS,
    logLevel: "off",
    openTelemetry: false,
  };
  let client = new Anthropic(clientOptions);

  const requestOptions = ({ signal, betas = [], headers }: UpstreamOptions) => ({
    fetchOptions: abortedBy(signal),
    headers: betas.length === 0 ? { ...headers } : { ...headers, "anthropic-beta": betas.join(",") },
  });

  /** Makes a request and resolves with its response. */
  async function request(
    resource: { readonly type: string; readonly name: string },
    { signal }: UpstreamOptions,
    send: (client: Anthropic) => Promise<Response>,
  ): Promise<Response> {
    const onHeader = (headers: Pick<Headers, "get"> | undefined) => {
      if (headers !== undefined && resource.name !== "") options.onHeader?.((name) => headers.get(name), resource.name);
    };
    for (let refreshed = false; ; refreshed = true) {
      const used = client;
      try {
        // The SDK does not tie the exchange of a token to the signal.
        const sent = options.credential.kind === "federation" ? unlessAborted(send(used), signal) : send(used);
        const response = await sent;
        onHeader(response.headers);
        return response;
      } catch (cause) {
        if (cause instanceof APIError) onHeader(cause.headers);
        const error = requestError(cause, resource);
        // A refused token may have been revoked before its time: a new client exchanges a new one. The SDK would do so
        // only as a part of its retries, which are off.
        if (refreshed || options.credential.kind !== "federation" || !isUnauthenticated(error)) throw error;
        if (client === used) client = new Anthropic(clientOptions);
      }
    }
  }

  return {
    async streamMessage(params, callOptions) {
      const { stream: _, ...whole } = params;
      const isStream = params.max_tokens !== 0;
      const response = await request({ type: "model", name: params.model }, callOptions, async (client) =>
        isStream
          ? ((await prepared.send(client, params, callOptions)) ??
            client.messages.create(params, requestOptions(callOptions)).asResponse())
          : client.messages.create(whole, requestOptions(callOptions)).asResponse(),
      );
      return read(response, async (requestId) => {
        const body: unknown = isStream ? response.body : eventStreamOf(await response.text());
        if (isStream && !isStreamed(body)) throw new TypeError("not an event stream");
        return new MessageStream(body as ByteSource, requestId, callOptions.omitContent);
      });
    },
    async countTokens(params, callOptions) {
      const response = await request({ type: "model", name: params.model }, callOptions, (client) =>
        client.messages.countTokens(params, requestOptions(callOptions)).asResponse(),
      );
      return read(response, async () => {
        const { input_tokens } = (await response.json()) as { input_tokens: unknown };
        if (typeof input_tokens !== "number") throw new TypeError("no input_tokens");
        return input_tokens;
      });
    },
    async listModels(params, callOptions) {
      const response = await request({ type: "model", name: "" }, callOptions, (client) =>
        client.models.list(params, requestOptions(callOptions)).asResponse(),
      );
      return read(response, async () => {
        const page = members(await response.text());
        const hasMore = page.get("has_more") === "true";
        return {
          models: elements(page.get("data") ?? ""),
          nextAfterId: hasMore ? (JSON.parse(page.get("last_id") ?? "null") ?? undefined) : undefined,
        };
      });
    },
    async getModel(id, callOptions) {
      const response = await request({ type: "model", name: id }, callOptions, (client) =>
        client.models.retrieve(id, undefined, requestOptions(callOptions)).asResponse(),
      );
      return read(response, async () => {
        const text = await response.text();
        members(text);
        return text;
      });
    },
    [Symbol.asyncDispose]: () => dispatcher.destroy(),
  };
}

/** Reads a response. What cannot be read is malformed. */
async function read<T>(response: Response, parse: (requestId: string | undefined) => Promise<T>): Promise<T> {
  const requestId = response.headers.get("request-id") ?? undefined;
  try {
    return await parse(requestId);
  } catch (error) {
    throw isTelling(error) ? error : malformed(error, requestId);
  }
}

/** Rejects as soon as the signal is aborted. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
    if (signal.aborted) onAbort();
  });
}

function isUnauthenticated(error: Error): boolean {
  return error instanceof ClaudeError && error.answer.status === 401;
}
