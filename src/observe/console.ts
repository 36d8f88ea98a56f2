import { format } from "node:util";
import type { Logger } from "./logger.ts";

/** How many different lines are passed on: the console is no way to fill the log. */
const MAX_LINES = 100;

/**
 * Puts what libraries write to the console into the log, each line once: the SDK tells there of models that will be
 * retired, at every request.
 */
export function routeConsole(logger: Logger): void {
  const seen = new Set<string>();
  const route =
    (level: "info" | "warn" | "error") =>
    (...values: unknown[]) => {
      const text = format(...values);
      if (seen.size >= MAX_LINES || seen.has(text)) return;
      seen.add(text);
      logger[level]({ source: "console" }, text);
    };
  Object.assign(globalThis.console, {
    log: route("info"),
    info: route("info"),
    warn: route("warn"),
    error: route("error"),
  });
}
