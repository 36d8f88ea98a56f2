import { Code, ConnectError } from "@connectrpc/connect";

/**
 * The failure of a call, which is UNAVAILABLE when its connection was lost, as clients of gRPC tell it. Connect makes it
 * CANCELED or ABORTED, which is what callers do and what conflicts are.
 */
export function judgeLostConnection(error: unknown): unknown {
  if (!(error instanceof ConnectError)) return error;
  const isReset = error.code === Code.Canceled && error.rawMessage.startsWith("http/2 stream closed with error code");
  const isBroken =
    error.code === Code.Aborted && (error.cause as NodeJS.ErrnoException | undefined)?.code !== undefined;
  if (!isReset && !isBroken) return error;
  return new ConnectError("the connection to the replica was lost", Code.Unavailable, undefined, undefined, error);
}
