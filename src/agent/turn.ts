import type { MessageCreateParamsStreaming } from "@anthropic-ai/sdk/resources/messages";
import { ClaudeError } from "../errors/claude-error.ts";
import { ParleyError } from "../errors/parley-error.ts";
import { Answer } from "../upstream/answer.ts";
import type { MessageStream } from "../upstream/message-stream.ts";
import type { StreamEvent } from "../upstream/stream-event.ts";
import type { Upstream } from "../upstream/upstream.ts";
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

/** How far a turn has come. Right at any time, also after it failed. */
export class TurnProgress {
  /** Requests made to Claude. */
  attempts = 0;
  /** The answer so far, of the latest request that got one. What an attempt before it had cost is not in its usage. */
  answer = new Answer(undefined);
}

/**
 * One turn: asks Claude, and hands on the events of the answer in batches, each of what arrived in one turn of the
 * event loop.
 *
 * Until the first content of an answer arrives, a failed request is made again (see `waitForRetry`), then with the
 * fallback models. From then on a failure is final: what was handed on cannot be taken back.
 *
 * @throws ClaudeError, ParleyError, or the signal's reason.
 */
export async function* turn(
  request: TurnRequest,
  progress: TurnProgress,
  dependencies: TurnDependencies,
  limits: RetryLimits,
): AsyncGenerator<readonly StreamEvent[], void, undefined> {
  const { stream, begun } = await begin(request, progress, dependencies, limits);
  try {
    yield begun;
    yield* stream;
    dependencies.retrier.budget.succeeded();
  } catch (error) {
    limits.signal.throwIfAborted();
    throw error;
  } finally {
    await stream.return();
  }
}

interface Beginning {
  readonly stream: MessageStream;
  /** The events up to and including the first that carries content. */
  readonly begun: readonly StreamEvent[];
}

/** Brings an answer to its first content, with as many requests as that takes. */
async function begin(
  request: TurnRequest,
  progress: TurnProgress,
  { upstream, retrier }: TurnDependencies,
  limits: RetryLimits,
): Promise<Beginning> {
  let firstFailure: unknown;
  for (const model of [request.params.model, ...request.fallbackModels]) {
    const params = { ...request.params, model };
    for (let attempt = 1; ; attempt++) {
      progress.attempts++;
      try {
        return await beginOnce({ ...request, params }, progress, upstream, limits.signal);
      } catch (error) {
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

async function beginOnce(
  { params, betas, omitContent }: TurnRequest,
  progress: TurnProgress,
  upstream: Upstream,
  signal: AbortSignal,
): Promise<Beginning> {
  const stream = await upstream.streamMessage(params, { signal, betas, omitContent });
  progress.answer = stream.answer;
  const begun: StreamEvent[] = [];
  try {
    // `message_start` alone is held back: Claude may still turn out to be overloaded.
    while (begun.length < 2) {
      const { value: batch = [] } = await stream.next();
      begun.push(...batch);
    }
  } catch (error) {
    await stream.return();
    throw error;
  }
  return { stream, begun };
}

/** Whether another model may do better: not when the connection, the credential or the request is at fault. */
function mayFallBack(error: unknown): boolean {
  if (error instanceof ClaudeError) return error.isUnavailable;
  return error instanceof ParleyError && /^UPSTREAM_(TIMEOUT|STREAM_)/.test(error.failure.reason);
}
