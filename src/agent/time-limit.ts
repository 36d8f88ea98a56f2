import type { Answer } from "../upstream/answer.ts";
import type { StreamEvent } from "../upstream/stream-event.ts";
import { LinkedAbort } from "./linked-abort.ts";
import { type TurnContext, type TurnDependencies, type TurnProgress, type TurnRequest, turn } from "./turn.ts";

/** The time of a turn was up before Claude had begun its answer. */
export class OutOfTime extends Error {
  override readonly name = "OutOfTime";
}

/**
 * A turn that is cut when its time is up: unless Claude is writing a text by then, which may be its answer. That goes on,
 * until something else follows it.
 *
 * @throws {OutOfTime} when it is cut; otherwise as `turn` does.
 */
export async function* turnInTime(
  request: TurnRequest,
  progress: TurnProgress,
  dependencies: TurnDependencies,
  { signal, deadline, origin }: TurnContext,
): AsyncGenerator<readonly StreamEvent[], void> {
  let isUp = false;
  using limit = new LinkedAbort(signal, deadline, () => {
    isUp = true;
    if (!isWriting(progress.answer)) limit.abort(new OutOfTime());
  });
  try {
    const limits = { signal: limit.signal, deadline, origin };
    for await (const batch of await turn(request, progress, dependencies, limits)) {
      yield batch;
      if (!isUp || isWriting(progress.answer)) continue;
      // So that those who watch the request know why it is cut.
      limit.abort(new OutOfTime());
      limit.signal.throwIfAborted();
    }
  } catch (error) {
    if (limit.signal.aborted && !signal.aborted) throw limit.signal.reason;
    throw error;
  }
}

function isWriting({ lastBlockType }: Answer): boolean {
  return lastBlockType === "text";
}
