import type { MessageCreateParamsStreaming } from "@anthropic-ai/sdk/resources/messages";
import { ClaudeError } from "../errors/claude-error.ts";
import { ParleyError } from "../errors/parley-error.ts";
import { Answer } from "../upstream/answer.ts";
import type { MessageStream } from "../upstream/message-stream.ts";
import type { StreamEvent } from "../upstream/stream-event.ts";
import type { FailedAttempt, RequestOrigin, Upstream } from "../upstream/upstream.ts";
import { type Retrier, type RetryLimits, waitForRetry } from "./retry.ts";

export interface TurnRequest {
  readonly params: MessageCreateParamsStreaming;
  readonly betas: readonly string[];
  /** Models to try, in order, when `params.model` is overloaded or unavailable. */
  readonly fallbackModels: readonly string[];
  /** Whether the answer that is put together shall have no content: nobody will read it. */
  readonly omitContent?: boolean;
}

export interface TurnDependencies {
  readonly upstream: Upstream;
  readonly retrier: Retrier;
}

/** Whom a turn is made for, and until when. */
export interface TurnContext extends RetryLimits {
  readonly origin: RequestOrigin;
}

/** How far a turn has come. Right at any time, also after it failed. */
export class TurnProgress {
  /** Requests made to Claude. */
  attempts = 0;
  /** When the first of them was made, by `performance.now()`. */
  requestedAt: number | undefined;
  /** When the answer had been read to its end, by `performance.now()`. */
  answeredAt: number | undefined;
  /** The answer so far, of the latest request that got one. What an attempt before it had cost is not in its usage. */
  answer = new Answer(undefined);
}

/**
 * One turn: asks Claude, and resolves with the answer when its first content has arrived, which is the first batch of the
 * stream.
 *
 * Until then a failed request is made again (see `waitForRetry`), then with the fallback models. From then on a failure is
 * final: what was handed on cannot be taken back.
 *
 * @throws ClaudeError, ParleyError, or the signal's reason. So does the stream, which may also throw what it was aborted
 * with.
 */
export async function turn(
  request: TurnRequest,
  progress: TurnProgress,
  { upstream, retrier }: TurnDependencies,
  limits: TurnContext,
): Promise<MessageStream> {
  let firstFailure: unknown;
  let after: FailedAttempt | undefined;
  progress.requestedAt = performance.now();
  for (const model of [request.params.model, ...request.fallbackModels]) {
    const params = { ...request.params, model };
    for (let attempt = 1; ; attempt++) {
      progress.attempts++;
      try {
        const stream = await begin({ ...request, params }, progress, upstream, limits, after);
        stream.onComplete = () => {
          retrier.budget.succeeded();
          progress.answeredAt = performance.now();
        };
        return stream;
      } catch (error) {
        after = { attempt: progress.attempts, model, error };
        if (await waitForRetry(error, attempt, retrier, limits)) continue;
        // A fallback model may refuse what the first would have taken. The caller is told of the first then: that it
        // was overloaded is no reason to give up.
        firstFailure ??= error;
        if (!mayFallBack(error)) throw firstFailure;
        break;
      }
    }
  }
  throw firstFailure;
}

/** Makes a request, and brings its answer to its first content. */
async function begin(
  { params, betas, omitContent }: TurnRequest,
  progress: TurnProgress,
  upstream: Upstream,
  { signal, deadline, origin }: TurnContext,
  after: FailedAttempt | undefined,
): Promise<MessageStream> {
  const stream = await upstream.streamMessage(params, { signal, deadline, betas, omitContent, origin, after });
  progress.answer = stream.answer;
  const begun: StreamEvent[] = [];
  try {
    // `message_start` alone is held back: Claude may still turn out to be overloaded.
    while (begun.length < 2) {
      const { value: batch = [] } = await stream.next();
      begun.push(...batch);
    }
    stream.unread(begun);
    return stream;
  } catch (error) {
    await stream.return();
    throw error;
  }
}

/** Whether another model may do better: not when the connection, the credential or the request is at fault. */
function mayFallBack(error: unknown): boolean {
  if (error instanceof ClaudeError) return error.isUnavailable;
  return error instanceof ParleyError && /^UPSTREAM_(TIMEOUT|STREAM_)/.test(error.failure.reason);
}
