import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, type ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { CallRecord } from "../rpc/call.ts";

/** A request over HTTP/1.1, or, with a stream, over HTTP/2: Node gives both the same form. */
export type NodeRequest = IncomingMessage & { readonly stream?: ServerHttp2Stream };

/** How long a caller may take to hear how its call has ended, in milliseconds. */
export const LAST_WORDS_MS = 2_000;

/**
 * Ends a response that is not complete when its deadline has passed, and the caller has had time to hear so: one that has
 * stopped reading never does.
 */
export function hangUpAfter(
  deadlineMs: number,
  record: CallRecord,
  request: NodeRequest,
  response: ServerResponse,
): void {
  const timer = setTimeout(() => hangUp(record, request.stream ?? response), deadlineMs + LAST_WORDS_MS);
  onceClosed(request, response, () => clearTimeout(timer));
}

/** Ends a response that is not complete, although its deadline has passed. */
export function hangUp(record: CallRecord, response: ServerHttp2Stream | ServerResponse): void {
  // The handler may have come to its end in time, and only the caller has not taken it.
  if ((record.code ?? 0) === 0) {
    record.code = Code.DeadlineExceeded;
    record.reason = "DEADLINE_EXCEEDED";
  }
  if ("close" in response) response.close(constants.NGHTTP2_CANCEL);
  else response.destroy();
}

/** Calls back when nothing more can be written. Node's response to a HEAD over HTTP/2 never says so, but its stream. */
export function onceClosed({ stream }: NodeRequest, response: ServerResponse, callback: () => void): void {
  (stream ?? response).once("close", callback);
}

/**
 * Over HTTP/2, a body that does not arrive holds a stream: Node limits the time of HTTP/1.1 bodies only.
 *
 * @param refuse tells the caller. The stream is closed after that.
 */
export function limitBodyTime(
  stream: ServerHttp2Stream,
  timeoutMs: number,
  refuse: (error: ConnectError) => void,
): void {
  const timer = setTimeout(() => {
    const close = () => stream.close(constants.NGHTTP2_NO_ERROR);
    if (stream.writableEnded) return close();
    stream.once("wantTrailers", () => setImmediate(close));
    refuse(new ConnectError("the request did not arrive in time", Code.DeadlineExceeded));
  }, timeoutMs);
  const stop = () => clearTimeout(timer);
  stream.once("end", stop);
  stream.once("close", stop);
}

/** What is left of a body when the response is complete holds its stream, or its connection: it is thrown away. */
export function discardRest(request: NodeRequest, response: ServerResponse): void {
  (request.stream ?? response).once("finish", () => request.resume());
}
