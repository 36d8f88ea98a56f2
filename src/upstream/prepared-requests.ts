import { type Anthropic, APIError } from "@anthropic-ai/sdk";
import type { MessageCreateParamsStreaming } from "@anthropic-ai/sdk/resources/messages";
import type { Credential } from "../config/credential.ts";
import { abortedBy } from "./dispatch-fetch.ts";
import type { UpstreamOptions } from "./upstream.ts";

/** How many kinds of requests are remembered: callers may name any model. */
const MAX_SEEN = 1_000;

interface Prepared {
  readonly apiKey: string;
  readonly url: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
}

/**
 * Requests for answers, with an address and a header that the SDK has built once for each API key. It would build them anew
 * for each request, through four rounds of WHATWG Headers and two more signals, which takes as long as all that a raw
 * forwarder does for a call.
 */
export class PreparedRequests {
  readonly #credential: Credential;
  readonly #fetch: typeof fetch;
  #prepared: Prepared | undefined;
  readonly #seen = new Set<string>();

  constructor(credential: Credential, fetchFunction: typeof fetch) {
    this.#credential = credential;
    this.#fetch = fetchFunction;
  }

  /**
   * Sends a request, if nothing but its body sets it apart from others. Undefined: only the SDK can send it, or tell what is
   * wrong with the credential.
   *
   * @throws {APIError} when Claude answers with an error, as the SDK does, and whatever the fetch throws.
   */
  async send(
    client: Anthropic,
    params: MessageCreateParamsStreaming,
    { signal, betas = [], headers: more }: UpstreamOptions,
  ): Promise<Response | undefined> {
    if (this.#credential.kind !== "apiKey" || betas.length > 0) return undefined;
    if (params.user_profile_id !== undefined || params.workspace_id !== undefined) return undefined;
    if (this.#isNew(`${params.model} ${params.thinking?.type}`)) return undefined;
    const apiKey = await this.#credential.apiKey.read().catch(() => undefined);
    if (apiKey === undefined) return undefined;
    if (this.#prepared?.apiKey !== apiKey) this.#prepared = await prepare(client, apiKey);
    const { url, headers } = this.#prepared;
    const response = await this.#fetch(url, {
      method: "POST",
      headers: (more === undefined ? headers : [...headers, ...Object.entries(more).flat()]) as never,
      body: JSON.stringify(params),
      ...abortedBy(signal),
    });
    if (response.ok) return response;
    const text = await response.text();
    const body = parsed(text);
    throw APIError.generate(response.status, body, body === undefined ? text : undefined, response.headers);
  }

  /** Whether a kind of request is seen for the first time: the SDK warns of models that will be retired. */
  #isNew(kind: string): boolean {
    if (this.#seen.has(kind)) return false;
    if (this.#seen.size >= MAX_SEEN) this.#seen.clear();
    this.#seen.add(kind);
    return true;
  }
}

async function prepare(client: Anthropic, apiKey: string): Promise<Prepared> {
  const { req, url } = await client.buildRequest({ method: "post", path: "/v1/messages", body: {}, stream: true });
  return { apiKey, url, headers: [...req.headers].flat() };
}

function parsed(text: string): object | undefined {
  try {
    return JSON.parse(text) as object;
  } catch {
    return undefined;
  }
}
