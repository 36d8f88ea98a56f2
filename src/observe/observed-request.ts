import { type Attributes, type Context, SpanKind } from "@opentelemetry/api";
import type { PriceTable } from "../agent/prices.ts";
import { abortCause } from "../errors/abort-cause.ts";
import { failureOf } from "../errors/connect-error.ts";
import type { FailedAttempt, UpstreamOptions } from "../upstream/upstream.ts";
import type { Instruments } from "./instruments.ts";
import type { Labels } from "./label-values.ts";
import { attribute } from "./names.ts";
import { endSpan, recordingSpan, type Tracing } from "./tracing.ts";

export interface ObservedRequestOptions {
  readonly instruments: Instruments;
  readonly tracing: Tracing;
  readonly prices: PriceTable;
  /** Address of Claude. */
  readonly server: URL;
  /** Whether spans carry prompts and answers. */
  readonly captureContent: boolean;
  readonly labels: Labels;
}

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
    const { instruments, labels } = this.options;
    if (model !== this.#model) {
      instruments.claudeFallbacks.add(1, { [attribute.requestModel]: this.modelLabel });
    } else {
      instruments.claudeRetries.add(1, { [attribute.errorType]: labels.reasons.admit(failureOf(error).reason) });
    }
  }

  /** It is over. `error` is what it failed with; undefined: it did not. */
  end(error: unknown): void {
    const { instruments, labels } = this.options;
    const errorType = error === undefined ? undefined : this.#errorType(error);
    instruments.claudeActive.add(-1);
    instruments.claudeDuration.record((performance.now() - this.startedAt) / 1_000, {
      [attribute.operation]: this.#operation,
      [attribute.provider]: "anthropic",
      [attribute.requestModel]: this.modelLabel,
      ...(errorType !== undefined && { [attribute.errorType]: labels.reasons.admit(errorType) }),
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
    return this.#model === undefined ? "" : this.options.labels.models.lookUp(this.#model);
  }

  #errorType(error: unknown): string {
    return failureOf(abortCause(this.callOptions) ?? error).reason;
  }
}
