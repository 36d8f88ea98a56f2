import { Code } from "@connectrpc/connect";
import { Metadata } from "@grpc/grpc-js";
import { type ToolContext, ToolError } from "../tool.ts";

/** Every call carries it on where the request has it: it binds what belongs together in logs. */
const REQUEST_ID = "x-request-id";

/** Headers that hand a trace on. What the request has of them belongs to the span of the request. */
const TRACE_HEADERS = ["traceparent", "tracestate"];

/**
 * What all attempts of a call carry besides its message: the headers of the request that are passed on, and for whom it is
 * made.
 *
 * @param forwarded names of further headers to pass on.
 * @throws {ToolError} when one of those cannot be passed on.
 */
export function callMetadata(
  { caller, runId, toolUseId }: Pick<ToolContext, "caller" | "runId" | "toolUseId">,
  forwarded: readonly string[],
): Metadata {
  const metadata = new Metadata();
  const requestId = caller.header(REQUEST_ID);
  if (requestId !== undefined && isLegal(requestId)) metadata.set(REQUEST_ID, requestId);
  for (const name of forwarded) {
    const value = caller.header(name);
    if (value === undefined || name === REQUEST_ID || TRACE_HEADERS.includes(name)) continue;
    if (name.endsWith("-bin")) {
      // In the request its bytes are in base64, and several values in one text.
      for (const part of value.split(",")) metadata.add(name, Buffer.from(part, "base64"));
      continue;
    }
    if (!isLegal(value)) {
      // Without it the service could take the call for another one than it is.
      const message = `the call was not made: gRPC cannot carry the value of the request's header ${name}`;
      throw new ToolError(Code.FailedPrecondition, message);
    }
    metadata.set(name, value);
  }
  metadata.set("x-parley-caller", encoded(caller.name));
  metadata.set("x-parley-run-id", encoded(runId));
  metadata.set("x-parley-tool-use-id", encoded(toolUseId));
  return metadata;
}

/** The same, with the headers that hand on the trace of an attempt. */
export function withTrace(metadata: Metadata, headers: Readonly<Record<string, string>>): Metadata {
  const traced = metadata.clone();
  for (const [name, value] of Object.entries(headers)) if (isLegal(value)) traced.set(name, value);
  return traced;
}

/** What gRPC allows in values that are no bytes. */
function isLegal(value: string): boolean {
  return /^[ -~]*$/.test(value);
}

/** A text with all bytes of its UTF-8 in percent-encoding that are not printable, and spaces and percent signs too. */
function encoded(text: string): string {
  return Buffer.from(text)
    .toString("latin1")
    .replace(/[^!-$&-~]/g, (byte) => {
      return `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
    });
}
