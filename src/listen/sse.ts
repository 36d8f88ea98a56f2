import {
  encodeEnvelope,
  readAllBytes,
  transformSplitEnvelope,
  type UniversalHandlerFn,
  type UniversalServerRequest,
} from "@connectrpc/connect/protocol";
import { contentTypeStreamJson, endStreamFlag } from "@connectrpc/connect/protocol-connect";

/** Whether a request asks for Server-Sent Events. */
export function wantsSse(headers: { readonly accept?: string | undefined }): boolean {
  return headers.accept?.includes("text/event-stream") ?? false;
}

/**
 * Serves a streaming RPC as Server-Sent Events, for `curl -N` and browsers: the body of the request is the JSON of the
 * request message; each response message is an event, and a failure an event `error` with the JSON that Connect has for
 * errors. It is Connect's streaming protocol in other frames, so it is served by Connect's handler.
 */
export function createSseHandler(connect: UniversalHandlerFn, readMaxBytes: number): UniversalHandlerFn {
  return async (request) => {
    const header = new Headers(request.header);
    header.set("content-type", contentTypeStreamJson);
    header.delete("connect-accept-encoding");
    const response = await connect({ ...request, header, body: envelope(request, readMaxBytes) });
    return {
      status: response.status,
      header: sseHeader(response.header),
      ...(response.body !== undefined && { body: events(response.body) }),
    };
  };
}

function sseHeader(source: Headers | undefined): Headers {
  const header = new Headers(source);
  header.set("content-type", "text/event-stream; charset=utf-8");
  header.set("cache-control", "no-cache");
  // nginx buffers responses unless it is told not to.
  header.set("x-accel-buffering", "no");
  return header;
}

/** The body of the request, in the frame that Connect's streaming protocol wants. */
async function* envelope(request: UniversalServerRequest, readMaxBytes: number): AsyncGenerator<Uint8Array> {
  const bytes = await readAllBytes(request.body as AsyncIterable<Uint8Array>, readMaxBytes);
  yield encodeEnvelope(0, bytes);
}

async function* events(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  for await (const { flags, data } of transformSplitEnvelope(0xffffffff)(body)) {
    const text = decoder.decode(data);
    if (flags !== endStreamFlag) {
      yield encoder.encode(`data: ${text}\n\n`);
      continue;
    }
    const { error } = JSON.parse(text) as { error?: object };
    if (error !== undefined) yield encoder.encode(`event: error\ndata: ${JSON.stringify(error)}\n\n`);
  }
}
