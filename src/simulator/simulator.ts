import { createCatalogue } from "./catalogue/models.ts";
import { createCountTokensEndpoint } from "./endpoints/count-tokens.ts";
import { createMessagesEndpoint } from "./endpoints/messages.ts";
import { createListModelsEndpoint, createRetrieveModelEndpoint } from "./endpoints/models.ts";
import { createOAuthTokenEndpoint } from "./endpoints/oauth-token.ts";
import { type Pacing, resolvePacing } from "./pacing.ts";
import { parseScript, type Script } from "./script/format.ts";
import { createScriptPlayer } from "./script/player.ts";
import { createAccessTokens } from "./server/access-tokens.ts";
import { exchange } from "./server/exchange.ts";
import { listen } from "./server/listener.ts";
import { createRateLimits } from "./server/rate-limits.ts";
import { createRequestLog, type RecordedRequest } from "./server/request-log.ts";
import { createDiagnosticsLog } from "./usage/diagnostics.ts";
import { createPromptCache } from "./usage/prompt-cache.ts";

export type { Pacing } from "./pacing.ts";
export type { Script, Step } from "./script/format.ts";
export { ScriptError } from "./script/format.ts";
export { loadScript, readScript } from "./script/load.ts";
export type { RecordedRequest, RequestEnd } from "./server/request-log.ts";
export { redactThinking, signThinking } from "./signatures.ts";

export interface SimulatorOptions {
  /** 0, the default, takes any free port. */
  readonly port?: number | undefined;
  /** Default 127.0.0.1. */
  readonly host?: string | undefined;
  /** Without one, the default scenario answers everything. */
  readonly script?: Script | undefined;
  readonly pacing?: Pacing | "instant" | undefined;
  /** Milliseconds between pings while a stream is silent. Default 15,000. */
  readonly pingMs?: number | undefined;
  /** Keys that are accepted; any key when left out. */
  readonly acceptedKeys?: readonly string[] | undefined;
  /** Unlimited when left out. */
  readonly requestsPerMinute?: number | undefined;
  /** Input and output tokens together; unlimited when left out. */
  readonly tokensPerMinute?: number | undefined;
  /** Lifetime of the access tokens given to workloads, in seconds. Default 3,600. */
  readonly accessTokenSeconds?: number | undefined;
  /** Shortest prompt prefix that is cached, in tokens. Default: each model's own. */
  readonly minimumCacheTokens?: number | undefined;
  /** The clock, in milliseconds since the epoch, for what expires or refills: caches, tokens and rate limits. */
  readonly now?: (() => number) | undefined;
  /** Gets one line about each request, without its content. */
  readonly log?: ((line: string) => void) | undefined;
}

/** A running simulator of Claude's Messages API. Disposing closes it and destroys its sockets. */
export interface Simulator extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** All requests that arrived whole, in order; the last 10,000 are kept. */
  readonly requests: readonly RecordedRequest[];
  /** TCP connections open now. */
  readonly openSockets: number;
  /** Requests being answered now. */
  readonly activeRequests: number;
  /** Resolves with the next request that nobody has taken yet, also with one that came before the call. */
  nextRequest(): Promise<RecordedRequest>;
  /**
   * Replaces the script, from its first step on and with all gates closed.
   * @throws {ScriptError}
   */
  run(script: Script): void;
  /** Lets requests that wait at the gate, now or later, pass. */
  open(gate: string): void;
  /** Changes which keys are accepted; `undefined` accepts any. */
  setAcceptedKeys(keys: readonly string[] | undefined): void;
  /**
   * Checks that the script was followed.
   * @throws {Error} that lists unexpected requests and unused steps.
   */
  verify(): void;
}

/**
 * Starts a simulator.
 * @throws {ScriptError} when the script is not valid.
 */
export async function createSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const { port = 0, host = "127.0.0.1", pingMs = 15_000, now = Date.now } = options;
  let player = createScriptPlayer(options.script && parseScript(options.script));
  let acceptedKeys = options.acceptedKeys;
  const closing = new AbortController();
  const models = createCatalogue();
  const tokens = createAccessTokens(options.accessTokenSeconds ?? 3_600, now);
  const limits = createRateLimits({ ...options, now });
  const log = createRequestLog();
  const cache = createPromptCache({ now, minimumTokens: options.minimumCacheTokens });
  const endpoints = [
    createMessagesEndpoint({ models, cache, limits, now, diagnostics: createDiagnosticsLog() }),
    createCountTokensEndpoint(models),
    createListModelsEndpoint(models),
    createRetrieveModelEndpoint(models),
    createOAuthTokenEndpoint(tokens),
  ];
  const services = {
    endpoints,
    tokens,
    limits,
    log,
    pingMs,
    player: () => player,
    acceptedKeys: () => acceptedKeys,
    pacing: resolvePacing(options.pacing),
    closing: closing.signal,
    write: options.log ?? (() => {}),
  };
  const listener = await listen({ port, host }, (request, response) => exchange(request, response, services));

  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${listener.port}`,
    requests: log.requests,
    get openSockets() {
      return listener.openSockets;
    },
    get activeRequests() {
      return listener.activeRequests;
    },
    nextRequest: () => log.next(),
    run(script) {
      player = createScriptPlayer(parseScript(script));
    },
    open: (gate) => player.gates.open(gate),
    setAcceptedKeys(keys) {
      acceptedKeys = keys;
    },
    verify() {
      const violations = player.violations();
      if (violations.length === 0) return;
      throw new Error(["The script was not followed:", ...violations.map((line) => `- ${line}`)].join("\n"));
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      log.close();
      await listener.close();
    },
  };
}
