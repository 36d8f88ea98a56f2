import { AnthropicError, APIConnectionError, APIError } from "@anthropic-ai/sdk";
import { ClaudeError } from "../errors/claude-error.ts";
import { isTelling } from "../errors/failure.ts";
import { ParleyError } from "../errors/parley-error.ts";

/** What a request throws, made by the SDK or not, in our terms. `resource` is what was asked for, for a 404. */
export function requestError(error: unknown, resource: { readonly type: string; readonly name: string }): Error {
  if (isTelling(error)) return error;
  const transport = error instanceof APIConnectionError ? error.cause : error;
  if (transport instanceof TransportError) return transport.error;
  if (error instanceof APIError && error.status !== undefined) return statusError(error, resource);
  if (error instanceof AnthropicError) {
    // The SDK's own complaints are about credentials: a key function that fails, or a token exchange.
    const message = "the service has no credential for Claude at the moment";
    return new ParleyError("UPSTREAM_CREDENTIAL_UNAVAILABLE", message, { cause: error });
  }
  return error as Error;
}

/** An answer that is not what Claude's API promises. */
export function malformed(cause: unknown, requestId?: string): ParleyError {
  return new ParleyError("UPSTREAM_STREAM_MALFORMED", "Claude's answer could not be understood", {
    cause,
    upstreamRequestId: requestId,
  });
}

/** What breaks the body of an answer, in our terms. */
export function bodyError(error: Error, requestId: string | undefined): Error {
  if (isTelling(error) || error.name === "AbortError") return error;
  const more = { cause: error, upstreamRequestId: requestId };
  return codeOf(error) === "UND_ERR_BODY_TIMEOUT"
    ? new ParleyError("UPSTREAM_STREAM_STALLED", "Claude's answer stopped flowing", more)
    : new ParleyError("UPSTREAM_STREAM_TRUNCATED", "the connection to Claude broke in the middle of an answer", more);
}

/**
 * Carries an error of ours through the SDK, which looks for the word "timeout" in what `fetch` throws, also in its
 * `cause`, and where it finds it throws the error away.
 */
class TransportError extends Error {
  override readonly name = "TransportError";
  readonly error: ParleyError;

  constructor(error: ParleyError) {
    super("no response");
    this.error = error;
  }
}

/** What keeps an answer from beginning, in our terms. An abort stays what it is. */
export function connectionError(error: Error): Error {
  if (error.name === "AbortError") return error;
  if (error instanceof ParleyError) return new TransportError(error);
  const code = codeOf(error);
  const inTime = code !== "UND_ERR_HEADERS_TIMEOUT" && code !== "UND_ERR_BODY_TIMEOUT";
  return new TransportError(
    inTime
      ? new ParleyError("UPSTREAM_UNREACHABLE", `Claude cannot be reached (${code ?? error.name})`, { cause: error })
      : new ParleyError("UPSTREAM_TIMEOUT", "Claude did not begin to answer in time", { cause: error }),
  );
}

function statusError(error: APIError, resource: { readonly type: string; readonly name: string }): ClaudeError {
  const headers = error.headers ?? new Headers();
  const shouldRetry = headers.get("x-should-retry");
  return new ClaudeError({
    status: error.status,
    type: text(error.type),
    errorCode: text(error.errorCode),
    message: text(error.apiMessage),
    requestId: error.requestID ?? undefined,
    retryAfterMs: retryAfterMs(headers),
    shouldRetry: shouldRetry === null ? undefined : shouldRetry === "true",
    exhaustedLimit: exhaustedLimit(headers),
    resource,
  });
}

/** What the SDK's types promise to be a text, and a proxy in front of Claude need not make one. */
export function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** The longest wait that is told, in milliseconds: a proxy in front of Claude may say anything. */
const MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1_000;

/** `retry-after-ms`, or `retry-after` in seconds or as a date, in milliseconds from now. 0 counts: it means at once. */
export function retryAfterMs(headers: Headers, now = Date.now()): number | undefined {
  const told = toldWait(headers, now);
  return told && Math.min(told, MAX_RETRY_AFTER_MS);
}

function toldWait(headers: Headers, now: number): number | undefined {
  const milliseconds = Number.parseFloat(headers.get("retry-after-ms") ?? "");
  if (milliseconds >= 0) return milliseconds;
  const value = headers.get("retry-after") ?? "";
  const seconds = Number(value);
  if (value !== "" && seconds >= 0) return seconds * 1_000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** The first of Claude's rate limits that nothing remains of. */
function exhaustedLimit(headers: Headers): string | undefined {
  return ["requests", "input-tokens", "output-tokens", "tokens"].find(
    (limit) => headers.get(`anthropic-ratelimit-${limit}-remaining`) === "0",
  );
}

function codeOf(error: unknown): string | undefined {
  return (error as { readonly code?: string } | undefined)?.code;
}
