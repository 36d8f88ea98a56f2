import { type DestinationStream, destination, type Logger, pino } from "pino";
import type { LogLevel } from "../config/schema.ts";

export type { Logger } from "pino";

/** To write a line costs ten times what it costs to make it. So lines are written in batches, of bytes and milliseconds. */
const BATCH = { minLength: 8 * 1024, periodicFlush: 100 };

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Whether lines are for the eyes of a person at a terminal, not JSON. */
  readonly pretty: boolean;
  /** Where lines go instead of standard output. */
  readonly stream?: DestinationStream;
}

/**
 * Logs to standard output, JSON a line. Written in the background, so that a slow collector does not hold up calls;
 * `flushLogger` before the process ends.
 */
export async function createLogger({ level, pretty, stream }: LoggerOptions): Promise<Logger> {
  const options = {
    level,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: serializeError },
    base: null,
  };
  if (!pretty) return pino(options, stream ?? destination({ dest: 1, sync: false, ...BATCH }));
  const { default: prettyStream } = await import("pino-pretty");
  return pino(options, prettyStream({ sync: true, singleLine: true }));
}

/** Writes out what is still in memory. */
export function flushLogger(logger: Logger): Promise<void> {
  return new Promise((resolve) => logger.flush(() => resolve()));
}

/**
 * Errors are logged by kind and place. Their messages are not: those of libraries may quote what they were given, and
 * that may be a prompt.
 */
function serializeError(error: unknown): object {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code } = error as { code?: unknown };
  return {
    type: error.name,
    ...(typeof code === "string" && { code }),
    stack: stackWithoutMessage(error),
    ...(error.cause !== undefined && { cause: serializeError(error.cause) }),
  };
}

function stackWithoutMessage({ stack = "" }: Error): string {
  return stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .join("\n");
}
