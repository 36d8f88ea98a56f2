import type { MessageCountTokensParams, MessageCreateParamsStreaming } from "@anthropic-ai/sdk/resources/messages";
import type { ModelListParams } from "@anthropic-ai/sdk/resources/models";
import type { Context } from "@opentelemetry/api";
import type { MessageStream } from "./message-stream.ts";

/** Whom a request is made for. */
export interface RequestOrigin {
  /** Name of the caller, or `anonymous`. */
  readonly caller: string;
  /** The trace that the request is part of, with the span that it belongs under. Undefined: there is none. */
  readonly trace?: Context | undefined;
}

/** The attempt before this one, which failed. */
export interface FailedAttempt {
  /** How many requests had been made by then, it included. */
  readonly attempt: number;
  /** Model that it asked. Unset: the same as now. */
  readonly model?: string;
  readonly error: unknown;
}

export interface UpstreamOptions {
  /** Aborts the request in every phase: before it is connected, while it waits, and in the middle of its answer. */
  readonly signal: AbortSignal;
  /** Values of `anthropic-beta`. */
  readonly betas?: readonly string[];
  /** Whether the answer that is put together shall have no content: nobody will read it. */
  readonly omitContent?: boolean | undefined;
  readonly origin: RequestOrigin;
  /** When the request must be over, by `performance.now()`: tells an abort by the deadline from one by the caller. */
  readonly deadline: number;
  /** What came before this request. Unset: it is the first. */
  readonly after?: FailedAttempt | undefined;
  /** Headers besides those that every request has, by names in small letters. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** A page of models, each as the exact JSON text that Claude sent. */
export interface ModelPage {
  readonly models: readonly string[];
  /** Where the next page begins. Unset: this is the last. */
  readonly nextAfterId: string | undefined;
}

/**
 * Claude, or anything else that speaks its Messages API. Each call is one request: no retries. Params may hold RawJson.
 *
 * All methods throw ClaudeError for what Claude answered, ParleyError (UPSTREAM_*) for what went wrong on the way, and
 * any error at all once the signal is aborted.
 */
export interface Upstream extends AsyncDisposable {
  /** Asks for an answer. Resolves when Claude's headers are there. */
  streamMessage(params: MessageCreateParamsStreaming, options: UpstreamOptions): Promise<MessageStream>;
  /** Counts input tokens. */
  countTokens(params: MessageCountTokensParams, options: UpstreamOptions): Promise<number>;
  /** Lists models. */
  listModels(params: ModelListParams, options: UpstreamOptions): Promise<ModelPage>;
  /** One model, as the exact JSON text that Claude sent. */
  getModel(id: string, options: UpstreamOptions): Promise<string>;
}
