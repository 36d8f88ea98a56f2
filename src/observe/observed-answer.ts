import type { Attributes, Span } from "@opentelemetry/api";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import { usageOf } from "../rpc/convert/response.ts";
import type { Answer } from "../upstream/answer.ts";
import type { MessageStream, StreamObserver } from "../upstream/message-stream.ts";
import type { StreamEvent } from "../upstream/stream-event.ts";
import type { Upstream, UpstreamOptions } from "../upstream/upstream.ts";
import { answerContent, requestContent } from "./content.ts";
import { attribute, spanEvent } from "./names.ts";
import { ObservedRequest, type ObservedRequestOptions } from "./observed-request.ts";
import { epochMs, recordingSpan } from "./tracing.ts";
import { allInputTokens, usageAttributes } from "./usage.ts";

type AnswerParams = Parameters<Upstream["streamMessage"]>[0];

/** A request for an answer. */
export class ObservedAnswer extends ObservedRequest implements StreamObserver {
  readonly #params: AnswerParams;
  #answer: Answer | undefined;
  #firstChunkAt: number | undefined;
  #lastChunkAt = 0;
  /** Whether the last chunk was read when it came. */
  #wasPrompt = false;
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
  follow(stream: MessageStream): void {
    this.#answer = stream.answer;
    stream.observer = this;
  }

  received(batch: readonly StreamEvent[], isPrompt: boolean): void {
    const { instruments, labels } = this.options;
    const now = performance.now();
    if (this.#firstChunkAt === undefined) {
      // Claude answers as this model, so there is one.
      this.#chunkLabels = { [attribute.requestModel]: labels.models.admit(this.#params.model) };
      // It sends the header of its answer at once, however long it thinks.
      if (batch.length === 1 && batch[0]?.event.type === "message_start") return;
      this.#firstChunkAt = now;
      instruments.claudeFirstChunk.record((now - this.startedAt) / 1_000, this.#chunkLabels);
    } else if (isPrompt && this.#wasPrompt) {
      instruments.claudeChunkGap.record((now - this.#lastChunkAt) / 1_000, this.#chunkLabels);
    }
    this.#lastChunkAt = now;
    this.#wasPrompt = isPrompt;
  }

  ended(error: Error | undefined): void {
    this.end(error);
  }

  override end(error: unknown): void {
    try {
      this.#tell(error);
    } finally {
      super.end(error);
    }
  }

  #tell(error: unknown): void {
    const answer = this.#answer?.begun ? this.#answer : undefined;
    const span = recordingSpan(this.trace);
    if (answer !== undefined) {
      const usage = usageOf(answer, this.options.prices);
      const stopReason = answer.text("stop_reason");
      const cost = this.#costOf(answer, usage);
      this.#account(usage, cost, error === undefined ? stopReason : undefined);
      span?.setAttributes({
        [attribute.responseId]: answer.text("id"),
        [attribute.responseModel]: answer.text("model"),
        [attribute.claudeRequestId]: answer.requestId,
        // Until it stops, Claude's own is null.
        [attribute.finishReasons]: stopReason === "" ? undefined : [stopReason],
        ...usageAttributes(usage),
        [attribute.costMicrosUsd]: cost,
      });
    }
    if (span !== undefined) this.#addChunks(span);
    if (span !== undefined && this.options.captureContent) {
      span.setAttributes(requestContent(this.#params));
      if (answer !== undefined) span.setAttributes(answerContent(answer));
    }
  }

  #addChunks(span: Span): void {
    if (this.#firstChunkAt === undefined) return;
    span.addEvent(spanEvent.firstChunk, undefined, epochMs(this.#firstChunkAt));
    span.addEvent(spanEvent.lastChunk, undefined, epochMs(this.#lastChunkAt));
    span.setAttribute(attribute.timeToFirstChunk, (this.#firstChunkAt - this.startedAt) / 1_000);
  }

  /** `stopReason` is undefined when the answer is not complete. */
  #account(usage: Usage, costMicrosUsd: number | undefined, stopReason: string | undefined): void {
    const { instruments, labels } = this.options;
    const model = this.modelLabel;
    const used = instruments.used(model)(labels.callers.admit(this.callOptions.origin.caller));
    used.input.add(allInputTokens(usage));
    used.output.add(usage.outputTokens);
    used.cacheRead.add(usage.cacheReadInputTokens);
    used.cacheWrite.add(usage.cacheCreationInputTokens);
    if (usage.thinkingTokens !== undefined) used.thinking.add(usage.thinkingTokens);
    if (costMicrosUsd === undefined) instruments.unpriced(model).add(1);
    else used.cost.add(costMicrosUsd / 1e6);
    if (stopReason === undefined) return;
    const answers = instruments.answers(model);
    answers(labels.stopReasons.admit(stopReason)).add(1);
  }

  /** Claude may answer under a name that has no price, when the one that was asked has one. */
  #costOf(answer: Answer, { costMicrosUsd }: Usage): number | undefined {
    if (costMicrosUsd !== undefined) return Number(costMicrosUsd);
    const cost = this.options.prices.costMicrosUsd(this.#params.model, answer.usage.members);
    return Number.isSafeInteger(cost) ? cost : undefined;
  }
}
