import type { IncomingHttpHeaders } from "node:http";
import type { ConnectError } from "@connectrpc/connect";
import { parseTimeout as parseConnectTimeout } from "@connectrpc/connect/protocol-connect";
import { parseTimeout as parseGrpcTimeout } from "@connectrpc/connect/protocol-grpc";

/** The longest delay of a timer in Node, in milliseconds: longer ones fire at once. */
export const LONGEST_TIMER_MS = 2_147_483_647;

export interface DeadlineLimits {
  /** Deadline of a call that has none, in milliseconds. */
  readonly defaultMs: number;
  /** The longest deadline, in milliseconds: longer ones are cut. */
  readonly maxMs: number;
}

/** How long a call may take. */
export interface CallTimeout {
  /** In milliseconds. Undefined: as long as the caller likes. */
  readonly timeoutMs: number | undefined;
  /** Why the call is refused. Unset: it is not. */
  readonly error?: ConnectError | undefined;
}

/** How long a call over gRPC may take. Without limits it gets the deadline that it asks for, if any. */
export function grpcTimeout(header: string | undefined, limits: DeadlineLimits | undefined): CallTimeout {
  if (header === undefined) return { timeoutMs: limits?.defaultMs };
  const { timeoutMs, error } = parseGrpcTimeout(header, Number.POSITIVE_INFINITY);
  if (timeoutMs === undefined) return { timeoutMs: limits?.defaultMs, error };
  return { timeoutMs: bounded(timeoutMs, limits?.maxMs ?? LONGEST_TIMER_MS) };
}

/**
 * Bounds the deadline of a call before the protocol's handler reads it: one that is missing gets the service's own, and
 * one that is longer than the cap is cut to it. A deadline that is malformed is left for the handler to refuse.
 *
 * @returns how long the call may take, in milliseconds, or undefined when the deadline is malformed.
 */
export function boundDeadline(
  headers: IncomingHttpHeaders,
  protocol: string,
  limits: DeadlineLimits,
): number | undefined {
  const isGrpc = protocol === "grpc" || protocol === "grpc-web";
  const name = isGrpc ? "grpc-timeout" : "connect-timeout-ms";
  const value = headers[name];
  const parse = isGrpc ? parseGrpcTimeout : parseConnectTimeout;
  const asked = typeof value === "string" ? parse(value, Number.POSITIVE_INFINITY) : { timeoutMs: limits.defaultMs };
  if (asked.timeoutMs === undefined) return undefined;
  const timeoutMs = bounded(asked.timeoutMs, limits.maxMs);
  headers[name] = isGrpc ? `${timeoutMs}m` : String(timeoutMs);
  return timeoutMs;
}

/** In whole milliseconds, so that it can be told in a header. */
function bounded(askedMs: number, maxMs: number): number {
  return Math.ceil(Math.min(askedMs, maxMs));
}
