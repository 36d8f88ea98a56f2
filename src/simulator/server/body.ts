import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { ApiError, invalidRequest } from "./api-error.ts";

/** Largest request body, also once decoded. Bytes. */
const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** The bytes of a request body, or `too-large`; those beyond the limit are read and thrown away. */
export async function readBody(request: IncomingMessage): Promise<Buffer | "too-large"> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
    else chunks.length = 0;
  }
  return size <= MAX_BODY_BYTES ? Buffer.concat(chunks) : "too-large";
}

/** Undoes the `content-encoding` of a body. Which encodings Claude takes is not documented; here it is gzip. */
export async function decodeBody(body: Buffer, encoding: string | undefined): Promise<Buffer> {
  if (encoding === undefined || encoding === "identity") return body;
  if (encoding !== "gzip") {
    const details = { error_code: "request_body_encoding_unsupported" };
    throw new ApiError(400, "invalid_request_error", `content-encoding: '${encoding}' is not supported`, { details });
  }
  try {
    return await promisify(gunzip)(body, { maxOutputLength: MAX_BODY_BYTES });
  } catch (error) {
    if (error instanceof RangeError) {
      throw requestTooLarge({ error_code: "request_body_too_large_after_decoding" });
    }
    const details = { error_code: "request_body_encoding_invalid" };
    throw new ApiError(400, "invalid_request_error", "The request body is not valid gzip", { details });
  }
}

/** The error for a body over the limit. */
export function requestTooLarge(details?: { error_code: string }): ApiError {
  const extras = details ? { details } : {};
  return new ApiError(413, "invalid_request_error", "Request exceeds the maximum size", extras);
}

/**
 * The JSON object that a body holds.
 * @throws {ApiError} when it is something else.
 */
export function requireJsonObject(text: string, contentType: string | undefined): Record<string, unknown> {
  if (contentType?.split(";")[0]?.trim().toLowerCase() !== "application/json") {
    throw invalidRequest("must be 'application/json'", "content-type");
  }
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw invalidRequest(`The request body is not valid JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw invalidRequest("The request body must be a JSON object");
  }
  return body as Record<string, unknown>;
}
