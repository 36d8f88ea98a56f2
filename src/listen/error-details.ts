import { Code, ConnectError } from "@connectrpc/connect";
import {
  type Compression,
  compressedFlag,
  createAsyncIterable,
  encodeEnvelope,
  readAllBytes,
  type UniversalHandlerFn,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  endStreamFlag,
  endStreamFromJson,
  endStreamToJson,
  errorFromJsonBytes,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { findTrailerError, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerParse, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { failureOf, toConnectError } from "../errors/connect-error.ts";
import { requestFault } from "../errors/request-fault.ts";
import type { CallRecord } from "../rpc/call.ts";
import { PREFIX_LENGTH } from "./envelope.ts";
import { recordKey } from "./serve.ts";

/** The largest error that the Connect library makes of a request, by far. */
const MAX_ERROR_BYTES = 1024 * 1024;

/**
 * Gives the details that every error of ours has to those that Connect's handlers raise themselves, for requests that
 * never come to an RPC: too large, malformed, with an encoding that is not supported.
 */
export function withErrorDetails(
  handler: UniversalHandlerFn,
  compressions: readonly Compression[],
): UniversalHandlerFn {
  return async (request) => {
    const response = await handler(request);
    const record = request.contextValues?.get(recordKey);
    if (record === undefined || response.body === undefined) return response;
    const contentType = response.header?.get("content-type") ?? "";
    const decompress = (encoding: string, data: Uint8Array) => {
      const compression = compressions.find(({ name }) => name === response.header?.get(encoding));
      return compression === undefined ? data : compression.decompress(data, MAX_ERROR_BYTES);
    };
    if (response.status >= 400 && contentType.startsWith("application/json")) {
      return describeUnary(response, record, (data) => decompress("content-encoding", data));
    }
    const last = (flag: number, encoding: string, replace: (data: Uint8Array) => Uint8Array | undefined) => ({
      ...response,
      body: lastFrame(response.body as AsyncIterable<Uint8Array>, flag, async (flags, data) => {
        if (record.code !== undefined) return undefined;
        const replacement = replace((flags & compressedFlag) === 0 ? data : await decompress(encoding, data));
        return replacement && encodeEnvelope(flag, replacement);
      }),
    });
    if (contentType.startsWith("application/grpc-web")) {
      return last(trailerFlag, "grpc-encoding", (data) => describeTrailer(data, record));
    }
    if (contentType.startsWith("application/connect+")) {
      return last(endStreamFlag, "connect-content-encoding", (data) => describeEndStream(data, record));
    }
    return response;
  };
}

/** What to do about a request that no protocol takes, by the HTTP status that Connect refuses it with. */
const refusals: Record<number, string> = {
  405: "the HTTP method is not supported: use POST",
  415: "the content type is not supported: use application/json, application/grpc or another of the protocols'",
  505: "the version of HTTP is not supported by this protocol: use HTTP/2",
};

/** Gives a response that Connect leaves empty the error that it stands for. */
export function withRefusal(
  response: UniversalServerResponse,
  { method }: { readonly method?: string | undefined },
  record: CallRecord,
): UniversalServerResponse {
  const message = refusals[response.status];
  if (message === undefined || response.body !== undefined) return response;
  const body = errorToJsonBytes(describe(new ConnectError(message, Code.Unimplemented), record), undefined);
  const header = new Headers(response.header);
  header.set("content-type", "application/json");
  if (response.status === 405) header.set("allow", "POST");
  return { ...response, header, ...(method !== "HEAD" && { body: createAsyncIterable([body]) }) };
}

/** The error with details. */
function describe(error: ConnectError, record: CallRecord): ConnectError {
  return refuse(requestFault(new ConnectError(error.rawMessage, error.code, error.metadata)), record);
}

/** Records how a call ended that never came to its RPC, and returns what the caller is told. */
export function refuse(fault: unknown, record: CallRecord): ConnectError {
  const { code, reason } = failureOf(fault);
  record.code = code;
  record.reason = reason;
  return toConnectError(fault, record);
}

async function describeUnary(
  response: UniversalServerResponse,
  record: CallRecord,
  decompress: (data: Uint8Array) => Uint8Array | Promise<Uint8Array>,
): Promise<UniversalServerResponse> {
  if (record.code !== undefined || response.body === undefined) return response;
  const bytes = await decompress(await readAllBytes(response.body, MAX_ERROR_BYTES));
  const error = describe(errorFromJsonBytes(bytes, undefined, new ConnectError("", Code.Unknown)), record);
  const body = errorToJsonBytes(error, undefined);
  const header = new Headers(response.header);
  header.delete("content-encoding");
  header.set("content-length", String(body.length));
  return { ...response, status: codeToHttpStatus(error.code), header, body: createAsyncIterable([body]) };
}

function describeTrailer(data: Uint8Array, record: CallRecord): Uint8Array | undefined {
  const trailer = trailerParse(data);
  const error = findTrailerError(trailer);
  return error && trailerSerialize(setTrailerStatus(trailer, describe(error, record)));
}

function describeEndStream(data: Uint8Array, record: CallRecord): Uint8Array | undefined {
  const { error, metadata } = endStreamFromJson(data);
  if (error === undefined) return undefined;
  return new TextEncoder().encode(JSON.stringify(endStreamToJson(metadata, describe(error, record), undefined)));
}

/** Passes chunks on, each of which is one frame, and lets the last one be replaced. */
async function* lastFrame(
  body: AsyncIterable<Uint8Array>,
  flag: number,
  replace: (flags: number, data: Uint8Array) => Promise<Uint8Array | undefined>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    const flags = chunk[0] ?? 0;
    yield (flags & flag) === 0 ? chunk : ((await replace(flags, chunk.subarray(PREFIX_LENGTH))) ?? chunk);
  }
}
