import { Code, ConnectError } from "@connectrpc/connect";
import { isStreamReset, isUnprocessed } from "./unprocessed.ts";

/**
 * The failure of a call, which is UNAVAILABLE when its connection was lost, or took it no more, as clients of gRPC tell it.
 * Connect makes it CANCELED, ABORTED or INTERNAL, which is what callers do, what conflicts are, and what is broken.
 */
export function judgeLostConnection(error: unknown): unknown {
  if (isUnprocessed(error)) return unavailable("no replica has taken the call", error);
  if (!(error instanceof ConnectError)) return error;
  const isReset = error.code === Code.Canceled && isStreamReset(error);
  const { code } = (error.cause ?? {}) as NodeJS.ErrnoException;
  const isBroken = (error.code === Code.Aborted && code !== undefined) || code === "ERR_HTTP2_SESSION_ERROR";
  return isReset || isBroken ? unavailable("the connection to the replica was lost", error) : error;
}

function unavailable(message: string, cause: unknown): ConnectError {
  return new ConnectError(message, Code.Unavailable, undefined, undefined, cause);
}
