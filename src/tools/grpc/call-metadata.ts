import { Code } from "@connectrpc/connect";
import { Metadata } from "@grpc/grpc-js";
import { type ToolContext, ToolError } from "../tool.ts";

/** Headers that every call carries on where the request has them: they bind what belongs together in traces and logs. */
const TRACE_HEADERS = ["traceparent", "tracestate", "x-request-id"];

/**
 * What a call carries besides its message: the headers of the request that are passed on, and for whom it is made.
 *
 * @param forwarded names of further headers to pass on.
 * @throws {ToolError} when one of those cannot be passed on.
 */
export function callMetadata(
  { caller, runId, toolUseId }: Pick<ToolContext, "caller" | "runId" | "toolUseId">,
  forwarded: readonly string[],
): Metadata {
  const metadata = new Metadata();
  for (const name of TRACE_HEADERS) {
    const value = caller.header(name);
    if (value !== undefined && isLegal(value)) metadata.set(name, value);
  }
  for (const name of forwarded) {
    const value = caller.header(name);
    if (value === undefined || TRACE_HEADERS.includes(name)) continue;
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
