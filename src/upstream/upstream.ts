import type { MessageCountTokensParams, MessageCreateParamsStreaming } from "@anthropic-ai/sdk/resources/messages";
import type { ModelListParams } from "@anthropic-ai/sdk/resources/models";
import type { MessageStream } from "./message-stream.ts";

export interface UpstreamOptions {
  /** Aborts the request in every phase: before it is connected, while it waits, and in the middle of its answer. */
  readonly signal: AbortSignal;
  /** Values of `anthropic-beta`. */
  readonly betas?: readonly string[];
  /** Whether the answer that is put together shall have no content: nobody will read it. */
  readonly omitContent?: boolean | undefined;
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
