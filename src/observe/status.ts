import { Code } from "@connectrpc/connect";

/** Names of the gRPC status codes, by number (grpc/grpc, doc/statuscodes.md). */
const names = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** The name of a gRPC status code. */
export function statusName(code: number): string {
  return names[code] ?? String(code);
}

/**
 * By the conventions for spans of servers, the codes that are a fault of the service. Two of them are no warning in the log:
 * a deadline that passed and a method that is not there, since it is callers who choose both.
 */
const SERVER_FAULTS = new Set<number>([
  Code.Unknown,
  Code.DeadlineExceeded,
  Code.Unimplemented,
  Code.Internal,
  Code.Unavailable,
  Code.DataLoss,
]);

/** Codes that tell of a fault in Parley or behind it, not in the request. */
const FAULTS = new Set<number>([Code.Unknown, Code.Internal, Code.Unavailable, Code.DataLoss]);

/** Whether somebody who reads the log should look at it. */
export function isFault(code: number): boolean {
  return FAULTS.has(code);
}

/** Whether a status says that the server has failed. */
export function isServerFault(code: number): boolean {
  return SERVER_FAULTS.has(code);
}
