import { setTimeout as sleep } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import type { ToolContext } from "../tool.ts";
import { CallFailure } from "./call-failure.ts";

/** How often a call is made at the most. */
const MAX_ATTEMPTS = 3;
/** The first wait is drawn from half of this to all of it; each further one from twice as much. In milliseconds. */
const BACK_OFF_MS = 200;

/**
 * Makes a call, and makes it again when the service is not available. For methods that say that they may be called twice.
 *
 * @throws what the last attempt throws, and the signal's reason when it is aborted.
 */
export async function withRetries<T>(
  attempt: () => Promise<T>,
  { signal, deadline }: Pick<ToolContext, "signal" | "deadline">,
): Promise<T> {
  for (let made = 1; ; made++) {
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      const delay = retryDelay(error, made);
      if (delay === undefined || performance.now() + delay >= deadline) throw error;
      await sleep(delay, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/** How long to wait, in milliseconds. Undefined: the call shall not be made again. */
function retryDelay(error: unknown, made: number): number | undefined {
  if (!(error instanceof CallFailure) || error.code !== Code.Unavailable || error.received > 0) return undefined;
  if (made >= MAX_ATTEMPTS) return undefined;
  const [told] = error.status.metadata.get("grpc-retry-pushback-ms");
  // By gRPC's own rules (gRFC A6) anything but a number of milliseconds says that there shall be no retry.
  if (told !== undefined) return /^\d{1,9}$/.test(String(told)) ? Number(told) : undefined;
  return BACK_OFF_MS * 2 ** (made - 1) * (0.5 + Math.random() / 2);
}
