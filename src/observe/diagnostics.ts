import type { DiagLogFunction, DiagLogger } from "@opentelemetry/api";
import type { Logger } from "./logger.ts";

/** How long the same message, but for its numbers, is not repeated. */
const PAUSE_MS = 60_000;
/** How many different messages are told in that time. */
const MAX_MESSAGES = 20;
/** Characters of a message: some quote what a collector has answered. */
const MAX_LENGTH = 300;

/** What is said wherever there is no /etc/machine-id, as in any container: nobody has to do anything about it. */
const WITHOUT_MACHINE_ID = /^dropping invalid resource attribute value for key "host\.id"/;

/**
 * Puts into the log what OpenTelemetry says of itself, such as that a collector cannot be reached: as warnings, since no
 * call suffers from it, and never more than a few in a minute. Objects are left out: they may be spans, with what is in
 * them.
 */
export function createDiagnostics(logger: Logger, now: () => number = () => performance.now()): DiagLogger {
  let told = new Set<string>();
  let since = now();
  let held = 0;
  const write =
    (level: "warn" | "debug"): DiagLogFunction =>
    (...parts) => {
      if (now() - since >= PAUSE_MS) {
        told = new Set();
        since = now();
      }
      const message = messageOf(parts);
      if (WITHOUT_MACHINE_ID.test(message)) return;
      const kind = message.replace(/\d+/g, "0");
      if (told.has(kind) || told.size >= MAX_MESSAGES) {
        held++;
        return;
      }
      told.add(kind);
      logger[level]({ source: "opentelemetry", ...(held > 0 && { held_back: held }) }, message);
      held = 0;
    };
  const [warn, debug] = [write("warn"), write("debug")];
  return { error: warn, warn, info: debug, debug, verbose: debug };
}

function messageOf(parts: readonly unknown[]): string {
  const texts = parts.filter((part) => typeof part === "string").map(shortened);
  return texts.join(" ").slice(0, MAX_LENGTH);
}

/** The SDK writes an error as the JSON of all its members. */
function shortened(text: string): string {
  if (!text.startsWith("{")) return text;
  try {
    const { name, code, message } = JSON.parse(text) as Record<string, unknown>;
    return [name, code, message].filter((member) => typeof member === "string").join(" ");
  } catch {
    return text;
  }
}
