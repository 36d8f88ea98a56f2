import { Code, ConnectError } from "@connectrpc/connect";
import {
  createAsyncIterable,
  encodeEnvelope,
  readAllBytes,
  type UniversalHandlerFn,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import {
  endStreamFlag,
  endStreamFromJson,
  endStreamToJson,
  errorFromJsonBytes,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { findTrailerError, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerParse, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { failureOf, toConnectError } from "../errors/connect-error.ts";
import type { CallRecord } from "../rpc/call.ts";
import { recordKey } from "./serve.ts";

const PREFIX_LENGTH = 5;
/** The largest error that the Connect library makes of a request, by far. */
const MAX_ERROR_BYTES = 1024 * 1024;

/**
 * Gives the details that every error of ours has to those that Connect's handlers raise themselves, for requests that
 * never come to an RPC: too large, malformed, with an encoding that is not supported.
 */
export function withErrorDetails(handler: UniversalHandlerFn): UniversalHandlerFn {
  return async (request) => {
    const response = await handler(request);
    const record = request.contextValues?.get(recordKey);
    if (record === undefined || response.body === undefined) return response;
    const contentType = response.header?.get("content-type") ?? "";
    if (response.status >= 400 && contentType.startsWith("application/json")) return describeUnary(response, record);
    if (contentType.startsWith("application/grpc-web")) {
      return { ...response, body: lastFrame(response.body, trailerFlag, (data) => describeTrailer(data, record)) };
    }
    if (contentType.startsWith("application/connect+")) {
      return { ...response, body: lastFrame(response.body, endStreamFlag, (data) => describeEndStream(data, record)) };
    }
    return response;
  };
}

/** The error with details, if the call never came to its RPC. */
function describe(error: ConnectError | undefined, record: CallRecord): ConnectError | undefined {
  if (error === undefined || record.code !== undefined) return undefined;
  const raised = new ConnectError(error.rawMessage, error.code, error.metadata);
  const { code, reason } = failureOf(raised);
  record.code = code;
  record.reason = reason;
  return toConnectError(raised, record);
}

async function describeUnary(response: UniversalServerResponse, record: CallRecord): Promise<UniversalServerResponse> {
  if (record.code !== undefined || response.body === undefined) return response;
  const bytes = await readAllBytes(response.body, MAX_ERROR_BYTES);
  const error = describe(errorFromJsonBytes(bytes, undefined, new ConnectError("", Code.Unknown)), record);
  const body = error === undefined ? bytes : errorToJsonBytes(error, undefined);
  const header = new Headers(response.header);
  header.set("content-length", String(body.length));
  return { ...response, header, body: createAsyncIterable([body]) };
}

function describeTrailer(data: Uint8Array, record: CallRecord): Uint8Array | undefined {
  const trailer = trailerParse(data);
  const error = describe(findTrailerError(trailer), record);
  return error && trailerSerialize(setTrailerStatus(trailer, error));
}

function describeEndStream(data: Uint8Array, record: CallRecord): Uint8Array | undefined {
  const end = endStreamFromJson(data);
  const error = describe(end.error, record);
  return error && new TextEncoder().encode(JSON.stringify(endStreamToJson(end.metadata, error, undefined)));
}

/** Passes chunks on, each of which is one frame, and lets the last one be replaced. */
async function* lastFrame(
  body: AsyncIterable<Uint8Array>,
  flag: number,
  replace: (data: Uint8Array) => Uint8Array | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    const replacement = chunk[0] === flag ? replace(chunk.subarray(PREFIX_LENGTH)) : undefined;
    yield replacement === undefined ? chunk : encodeEnvelope(flag, replacement);
  }
}
