import type { AsyncLocalStorage } from "node:async_hooks";
import type { FetchLike } from "@modelcontextprotocol/client";
import { type BodyInit, type Dispatcher, Response, fetch as undiciFetch } from "undici";

/** An answer of a server, or one event in a stream of it, that is larger than allowed. */
export class ResponseTooLarge extends Error {
  override readonly name = "ResponseTooLarge";

  constructor(maxBytes: number) {
    super(`the answer has more than ${maxBytes} bytes`);
  }
}

/** What is told when the answer to a request breaks its bound. The request is made inside of its `run`. */
export type TooLargeListener = AsyncLocalStorage<(error: ResponseTooLarge) => void>;

/**
 * A `fetch` for the SDK, which reads answers without a bound: bodies end with a ResponseTooLarge beyond theirs. In an event
 * stream, the bound holds for each event.
 */
export function createBoundedFetch(dispatcher: Dispatcher, maxBytes: number, listener: TooLargeListener): FetchLike {
  return async (url, init) => {
    const response = await undiciFetch(url, { ...init, dispatcher } as Parameters<typeof undiciFetch>[1]);
    if (response.body === null) return response as unknown as globalThis.Response;
    const told = listener.getStore();
    const isStream = response.headers.get("content-type")?.includes("event-stream") ?? false;
    let bytes = 0;
    const bound = new TransformStream({
      transform(chunk: Uint8Array, controller) {
        const eventEnd = isStream ? endOfEvent(chunk) : -1;
        bytes = eventEnd === -1 ? bytes + chunk.length : chunk.length - eventEnd;
        if (bytes <= maxBytes) return controller.enqueue(chunk);
        const error = new ResponseTooLarge(maxBytes);
        controller.error(error);
        told?.(error);
      },
    });
    const { status, statusText, headers } = response;
    const body = response.body.pipeThrough(bound);
    return new Response(body as BodyInit, { status, statusText, headers }) as unknown as globalThis.Response;
  };
}

/** The position after the last empty line: there an event ends. -1: there is none. */
function endOfEvent(chunk: Uint8Array): number {
  const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  return Math.max(text.lastIndexOf("\n\n"), text.lastIndexOf("\r\n\r\n"));
}
