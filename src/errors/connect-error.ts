import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "../../gen/google/rpc/error_details_pb.js";
import { type PartialOutput, PartialOutputSchema } from "../../gen/parley/v1/errors_pb.js";
import { type Failure, type FieldViolation, isTelling } from "./failure.ts";
import { ParleyError } from "./parley-error.ts";

/** What is known of the call that failed. */
export interface FailedCall {
  /** Parley's identifier of the call. */
  readonly id: string;
  /** Path of the ChatRequest in the request message: Claude's own paths begin there. */
  readonly chatPath?: string | undefined;
  /** What had been received of an answer. Unset: nothing. */
  readonly partial?: PartialOutput | undefined;
}

/** What a caller is told of any value that was thrown. Only errors of ours say anything of themselves. */
export function failureOf(error: unknown): Failure {
  if (isTelling(error)) return error.failure;
  if (error instanceof ConnectError) return connectFailure(error);
  return new ParleyError("INTERNAL", "internal error").failure;
}

/** The one way from a thrown value to what goes over the wire, with all its `google.rpc` details. */
export function toConnectError(error: unknown, call: FailedCall): ConnectError {
  if (error instanceof ConnectError && error.findDetails(ErrorInfoSchema).length > 0) return error;
  const failure = failureOf(error);
  const details: { desc: DescMessage; value: MessageInitShape<DescMessage> }[] = [];
  const add = <D extends DescMessage>(desc: D, value: MessageInitShape<D>) =>
    details.push({ desc, value: create(desc, value) });

  const metadata: Record<string, string> = { retryable: String(failure.retryable) };
  if (failure.httpStatus !== undefined) metadata.httpStatus = String(failure.httpStatus);
  if (failure.upstreamRequestId !== undefined) metadata.upstreamRequestId = short(failure.upstreamRequestId);
  add(ErrorInfoSchema, { reason: failure.reason, domain: failure.domain, metadata });
  add(RequestInfoSchema, { requestId: call.id });
  if (failure.retryDelayMs !== undefined) add(RetryInfoSchema, { retryDelay: durationFromMs(failure.retryDelayMs) });
  if (failure.violations !== undefined) add(BadRequestSchema, { fieldViolations: fieldViolations(failure, call) });
  if (failure.quota !== undefined)
    add(QuotaFailureSchema, { violations: [{ ...failure.quota, description: short(failure.quota.description) }] });
  if (failure.resource !== undefined) {
    const { type, name } = failure.resource;
    add(ResourceInfoSchema, { resourceType: type, resourceName: short(name), description: short(failure.message) });
  }
  if (call.partial !== undefined) add(PartialOutputSchema, call.partial);
  const header = error instanceof ConnectError ? error.metadata : undefined;
  return new ConnectError(short(failure.message), failure.code, header, details, error);
}

/**
 * Details travel in trailers, in base64, and the message once more in percent-encoding. Clients limit the size of all
 * trailers (grpc-java: 8 KiB): a request that is wrong in a thousand places is told of the first few.
 */
const MAX_VIOLATIONS_BYTES = 2 * 1024;
const MAX_TEXT_BYTES = 512;

function fieldViolations({ domain, violations = [] }: Failure, { chatPath = "" }: FailedCall) {
  const prefix = domain === "api.anthropic.com" ? chatPath : "";
  const told: FieldViolation[] = [];
  let bytes = 0;
  for (const { field, description } of violations) {
    const violation = { field: short(prefix + field), description: short(description) };
    bytes += Buffer.byteLength(violation.field) + Buffer.byteLength(violation.description);
    if (bytes > MAX_VIOLATIONS_BYTES && told.length > 0) break;
    told.push(violation);
  }
  return told;
}

/** A text that is cut, if need be, between two characters. Halves of characters, which no header can carry, are replaced. */
function short(original: string): string {
  const text = original.toWellFormed();
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(MAX_TEXT_BYTES));
  return read === text.length ? text : `${text.slice(0, read)}…`;
}

/** Errors that the Connect library raises itself: about the protocol, the size or the form of a request. */
function connectFailure(error: ConnectError): Failure {
  const parley = (reason: ConstructorParameters<typeof ParleyError>[0]) =>
    new ParleyError(reason, error.rawMessage).failure;
  switch (error.code) {
    case Code.DeadlineExceeded:
      return parley("DEADLINE_EXCEEDED");
    case Code.Canceled:
      return parley("CANCELLED");
    case Code.ResourceExhausted: {
      const [, limit] = /larger than configured readMaxBytes (\d+)/.exec(error.rawMessage) ?? [];
      const message = limit === undefined ? error.rawMessage : `the request is larger than ${limit} bytes, the limit`;
      return new ParleyError("REQUEST_TOO_LARGE", message).failure;
    }
    case Code.Unimplemented:
      return parley("NOT_IMPLEMENTED");
    case Code.InvalidArgument:
      return parley("INVALID_REQUEST");
    default:
      return new ParleyError("INTERNAL", "internal error").failure;
  }
}
