import { type Attributes, type Context, SpanKind } from "@opentelemetry/api";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import type { PriceTable } from "../agent/prices.ts";
import { abortCause } from "../errors/abort-cause.ts";
import { failureOf } from "../errors/connect-error.ts";
import { usageOf } from "../rpc/convert/response.ts";
import type { Answer } from "../upstream/answer.ts";
import type { MessageStream, StreamObserver } from "../upstream/message-stream.ts";
import { parseValid } from "../upstream/raw-json.ts";
import type { StreamEvent } from "../upstream/stream-event.ts";
import type { FailedAttempt, Upstream, UpstreamOptions } from "../upstream/upstream.ts";
import { answerContent, requestContent } from "./content.ts";
import type { Instruments } from "./instruments.ts";
import type { LabelValues } from "./label-values.ts";
import { attribute, spanEvent } from "./names.ts";
import { endSpan, epochMs, recordingSpan, type Tracing } from "./tracing.ts";
import { allInputTokens, usageAttributes } from "./usage.ts";

export interface ObservedRequestOptions {
  readonly instruments: Instruments;
  readonly tracing: Tracing;
  readonly prices: PriceTable;
  /** Address of Claude. */
  readonly server: URL;
  /** Whether spans carry prompts and answers. */
  readonly captureContent: boolean;
  readonly models: LabelValues;
  readonly callers: LabelValues;
  /** Reasons of errors. */
  readonly reasons: LabelValues;
  readonly stopReasons: LabelValues;
}

type AnswerParams = Parameters<Upstream["streamMessage"]>[0];

/** A request to Claude, from its beginning to its end. */
export class ObservedRequest {
  /** Those of the call, with the trace of this request in the headers. */
  readonly callOptions: UpstreamOptions;
  protected readonly options: ObservedRequestOptions;
  protected readonly startedAt = performance.now();
  protected readonly trace: Context | undefined;
  readonly #operation: string;
  readonly #model: string | undefined;

  constructor(
    { operation, model }: { readonly operation: string; readonly model: string | undefined },
    callOptions: UpstreamOptions,
    options: ObservedRequestOptions,
    attributes?: Attributes,
  ) {
    const { tracing, server, instruments } = options;
    this.options = options;
    this.#operation = operation;
    this.#model = model;
    const { origin, after } = callOptions;
    const name = model === undefined ? operation : `${operation} ${model}`;
    this.trace = tracing.start(
      name,
      {
        kind: SpanKind.CLIENT,
        attributes: {
          [attribute.operation]: operation,
          [attribute.provider]: "anthropic",
          [attribute.serverAddress]: server.hostname,
          [attribute.serverPort]: Number(server.port) || (server.protocol === "http:" ? 80 : 443),
          [attribute.requestModel]: model,
          [attribute.resendCount]: after?.attempt,
          ...attributes,
        },
      },
      origin.trace,
    );
    const headers = tracing.headersForClaude(this.trace);
    this.callOptions = headers === undefined ? callOptions : { ...callOptions, headers };
    instruments.claudeActive.add(1);
    if (after !== undefined) this.#countRepetition(after);
  }

  #countRepetition({ model = this.#model, error }: FailedAttempt): void {
    const { instruments, reasons } = this.options;
    if (model !== this.#model) {
      instruments.claudeFallbacks.add(1, { [attribute.requestModel]: this.modelLabel });
    } else {
      instruments.claudeRetries.add(1, { [attribute.errorType]: reasons.admit(failureOf(error).reason) });
    }
  }

  /** It is over. `error` is what it failed with; undefined: it did not. */
  end(error: unknown): void {
    const { instruments } = this.options;
    const errorType = error === undefined ? undefined : this.#errorType(error);
    instruments.claudeActive.add(-1);
    instruments.claudeDuration.record((performance.now() - this.startedAt) / 1_000, {
      [attribute.operation]: this.#operation,
      [attribute.provider]: "anthropic",
      [attribute.requestModel]: this.modelLabel,
      ...(errorType !== undefined && { [attribute.errorType]: this.options.reasons.admit(errorType) }),
    });
    const span = recordingSpan(this.trace);
    if (span === undefined) return;
    if (error !== undefined) {
      const { httpStatus, upstreamRequestId } = failureOf(error);
      if (httpStatus !== undefined) span.setAttribute(attribute.httpStatus, httpStatus);
      if (upstreamRequestId !== undefined) span.setAttribute(attribute.claudeRequestId, upstreamRequestId);
    }
    endSpan(span, errorType);
  }

  /** A model that Claude has never answered as could be any text. */
  protected get modelLabel(): string {
    return this.#model === undefined ? "" : this.options.models.lookUp(this.#model);
  }

  #errorType(error: unknown): string {
    const { signal, deadline = Number.POSITIVE_INFINITY } = this.callOptions;
    return failureOf(abortCause({ signal, deadline }) ?? error).reason;
  }
}

/** A request for an answer. */
export class ObservedAnswer extends ObservedRequest implements StreamObserver {
  readonly #params: AnswerParams;
  #answer: Answer | undefined;
  #firstChunkAt: number | undefined;
  #lastChunkAt = 0;
  #chunkLabels: Attributes = {};

  constructor(params: AnswerParams, callOptions: UpstreamOptions, options: ObservedRequestOptions) {
    const effort = params.output_config?.effort;
    super({ operation: "chat", model: params.model }, callOptions, options, {
      [attribute.requestMaxTokens]: params.max_tokens,
      [attribute.requestStream]: true,
      [attribute.requestEffort]: typeof effort === "string" ? effort : undefined,
    });
    this.#params = params;
  }

  /** Follows the answer, whose header is there. */
  watch(stream: MessageStream): void {
    this.#answer = stream.answer;
    stream.observer = this;
  }

  received(batch: readonly StreamEvent[]): void {
    // Claude sends its header at once, however long it thinks.
    if (this.#firstChunkAt === undefined && batch.length === 1 && batch[0]?.event.type === "message_start") return;
    const now = performance.now();
    const { instruments, models } = this.options;
    if (this.#firstChunkAt === undefined) {
      this.#firstChunkAt = now;
      this.#chunkLabels = { [attribute.requestModel]: models.admit(this.#params.model) };
      instruments.claudeFirstChunk.record((now - this.startedAt) / 1_000, this.#chunkLabels);
    } else {
      instruments.claudeChunkGap.record((now - this.#lastChunkAt) / 1_000, this.#chunkLabels);
    }
    this.#lastChunkAt = now;
  }

  ended(error: Error | undefined): void {
    this.end(error);
  }

  override end(error: unknown): void {
    const answer = this.#answer;
    if (answer?.begun) this.#account(answer, error === undefined);
    const span = recordingSpan(this.trace);
    if (span !== undefined) {
      if (this.#firstChunkAt !== undefined) {
        span.addEvent(spanEvent.firstChunk, undefined, epochMs(this.#firstChunkAt));
        span.addEvent(spanEvent.lastChunk, undefined, epochMs(this.#lastChunkAt));
        span.setAttribute(attribute.timeToFirstChunk, (this.#firstChunkAt - this.startedAt) / 1_000);
      }
      if (answer?.begun) span.setAttributes(answerAttributes(answer)).setAttributes(usageAttributes(usageOf(answer)));
      if (this.options.captureContent) {
        span.setAttributes(requestContent(this.#params));
        if (answer?.begun) span.setAttributes(answerContent(answer));
      }
    }
    super.end(error);
  }

  #account(answer: Answer, isComplete: boolean): void {
    const { instruments, prices, callers, stopReasons } = this.options;
    const model = this.modelLabel;
    const used = instruments.used(model)(callers.admit(this.callOptions.origin.caller));
    const usage = usageOf(answer, prices);
    used.input.add(allInputTokens(usage));
    used.output.add(usage.outputTokens);
    used.cacheRead.add(usage.cacheReadInputTokens);
    used.cacheWrite.add(usage.cacheCreationInputTokens);
    if (usage.thinkingTokens !== undefined) used.thinking.add(usage.thinkingTokens);
    const cost = costOf(answer, this.#params.model, usage, prices);
    if (cost === undefined) instruments.unpriced(model).add(1);
    else used.cost.add(cost / 1e6);
    if (isComplete)
      instruments
        .answers(model)(stopReasons.admit(stopReasonOf(answer)))
        .add(1);
  }
}

/** In millionths of a US dollar. Claude may answer under a name that has no price, when the one that was asked has one. */
function costOf(answer: Answer, asked: string, { costMicrosUsd }: Usage, prices: PriceTable): number | undefined {
  if (costMicrosUsd !== undefined) return Number(costMicrosUsd);
  const cost = prices.costMicrosUsd(asked, answer.usage.members);
  return Number.isSafeInteger(cost) ? cost : undefined;
}

function answerAttributes(answer: Answer): Attributes {
  const stopReason = stopReasonOf(answer);
  return {
    [attribute.responseId]: textOf(answer, "id"),
    [attribute.responseModel]: textOf(answer, "model"),
    [attribute.claudeRequestId]: answer.requestId,
    // Until it stops, Claude's own is null.
    [attribute.finishReasons]: stopReason === "" ? undefined : [stopReason],
  };
}

function stopReasonOf(answer: Answer): string {
  return textOf(answer, "stop_reason");
}

/** A member of the answer that is a text. */
function textOf(answer: Answer, name: string): string {
  const value = parseValid(answer.message.get(name) ?? '""');
  return typeof value === "string" ? value : "";
}
