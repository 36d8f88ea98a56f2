import type { IncomingHttpHeaders } from "node:http";
import { parseTimeout as parseConnectTimeout } from "@connectrpc/connect/protocol-connect";
import { parseTimeout as parseGrpcTimeout } from "@connectrpc/connect/protocol-grpc";

/** The longest delay of a timer in Node, in milliseconds: longer ones fire at once. */
export const LONGEST_TIMER_MS = 2_147_483_647;

/** 8 digits are what gRPC allows for a timeout: in milliseconds, a little over a day. */
const LONGEST_GRPC_MILLISECONDS = 99_999_999;

/**
 * Bounds the deadline of a call before the protocol's handler reads it: one that is missing gets the service's own, and
 * one that is longer than the cap is cut to it. A deadline that is malformed is left for the handler to refuse.
 */
export function boundDeadline(
  headers: IncomingHttpHeaders,
  limits: { readonly defaultMs: number | undefined; readonly maxMs: number },
): void {
  const isGrpc = headers["content-type"]?.startsWith("application/grpc") ?? false;
  const name = isGrpc ? "grpc-timeout" : "connect-timeout-ms";
  const value = headers[name];
  const parse = isGrpc ? parseGrpcTimeout : parseConnectTimeout;
  const asked = typeof value === "string" ? parse(value, Number.POSITIVE_INFINITY) : { timeoutMs: limits.defaultMs };
  if (asked.timeoutMs === undefined) return;
  const bounded = Math.ceil(Math.min(asked.timeoutMs, limits.maxMs, LONGEST_TIMER_MS));
  if (bounded === asked.timeoutMs && value !== undefined) return;
  if (isGrpc) headers[name] = bounded <= LONGEST_GRPC_MILLISECONDS ? `${bounded}m` : `${Math.ceil(bounded / 1_000)}S`;
  else headers[name] = String(bounded);
}
