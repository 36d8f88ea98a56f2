import { ConnectError } from "@connectrpc/connect";

/** Errors of Node at requests on a connection that takes none any more. */
const CONNECTION_IS_CLOSING = new Set(["ERR_HTTP2_GOAWAY_SESSION", "ERR_HTTP2_INVALID_SESSION"]);

/**
 * Whether a call has failed without having been processed: its connection has ended before it was sent, or its stream was
 * refused, or came after the last one of a connection that was about to close (RFC 9113, 8.7). Connect tells such failures as
 * INTERNAL or UNAVAILABLE, depending on who has noticed first.
 */
export function isUnprocessed(error: unknown): boolean {
  for (let reason = error; reason instanceof Error; reason = reason.cause) {
    const { code } = reason as NodeJS.ErrnoException;
    if (typeof code === "string" && CONNECTION_IS_CLOSING.has(code)) return true;
    const isOfNode = code === "ERR_HTTP2_STREAM_ERROR" || isStreamReset(reason);
    if (isOfNode && reason.message.includes("REFUSED_STREAM")) return true;
  }
  return false;
}

/** What Connect says of a stream that was reset. What a server has said has a header or details. */
export function isStreamReset(reason: Error): boolean {
  return reason instanceof ConnectError && reason.rawMessage.startsWith("http/2 stream closed with error code");
}
