import { type Progress, TRACEPARENT_META_KEY, TRACESTATE_META_KEY } from "@modelcontextprotocol/client";

/** The most characters of what a server tells of its progress. */
const MAX_PROGRESS_LENGTH = 1_000;

/**
 * What goes with a call besides its arguments: the trace that it is part of, as MCP has it since 2026-07-28.
 *
 * @param headers the headers that hand the trace on.
 */
export function callMeta(headers: Readonly<Record<string, string>>): Record<string, string> {
  const meta: Record<string, string> = {};
  for (const key of [TRACEPARENT_META_KEY, TRACESTATE_META_KEY]) {
    const value = headers[key];
    if (value !== undefined) meta[key] = value;
  }
  return meta;
}

/** The server's own words, or its numbers. */
export function progressText({ message, progress, total }: Progress): string {
  const text = message ?? (total === undefined ? String(progress) : `${progress} of ${total}`);
  return text.slice(0, MAX_PROGRESS_LENGTH);
}
