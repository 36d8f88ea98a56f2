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
import { type Failure, isTelling } from "./failure.ts";
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
  if (failure.upstreamRequestId !== undefined) metadata.upstreamRequestId = failure.upstreamRequestId;
  add(ErrorInfoSchema, { reason: failure.reason, domain: failure.domain, metadata });
  add(RequestInfoSchema, { requestId: call.id });
  if (failure.retryDelayMs !== undefined) add(RetryInfoSchema, { retryDelay: durationFromMs(failure.retryDelayMs) });
  if (failure.violations !== undefined) add(BadRequestSchema, { fieldViolations: fieldViolations(failure, call) });
  if (failure.quota !== undefined)
    add(QuotaFailureSchema, { violations: [{ ...failure.quota, description: short(failure.quota.description) }] });
  if (failure.resource !== undefined) {
    const { type, name } = failure.resource;
    add(ResourceInfoSchema, { resourceType: type, resourceName: name, description: short(failure.message) });
  }
  if (call.partial !== undefined) add(PartialOutputSchema, call.partial);
  const header = error instanceof ConnectError ? error.metadata : undefined;
  return new ConnectError(short(failure.message), failure.code, header, details, error);
}

/**
 * Details travel in trailers, whose size clients limit (grpc-go and Envoy: 16 KiB and less): a request that is wrong in
 * a thousand places is told of the first few.
 */
const MAX_VIOLATIONS = 16;
const MAX_TEXT_LENGTH = 512;

function fieldViolations({ domain, violations = [] }: Failure, { chatPath = "" }: FailedCall) {
  const prefix = domain === "api.anthropic.com" ? chatPath : "";
  return violations.slice(0, MAX_VIOLATIONS).map(({ field, description }) => ({
    field: short(prefix + field),
    description: short(description),
  }));
}

function short(text: string): string {
  return text.length <= MAX_TEXT_LENGTH ? text : `${text.slice(0, MAX_TEXT_LENGTH - 1)}…`;
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
    case Code.ResourceExhausted:
      return parley("REQUEST_TOO_LARGE");
    case Code.Unimplemented:
      return parley("NOT_IMPLEMENTED");
    case Code.InvalidArgument:
      return parley("INVALID_REQUEST");
    default:
      // The library reports a body that is no protobuf as an internal error of the server, which it is not.
      if (error.rawMessage.startsWith("parse binary: ")) {
        return new ParleyError("INVALID_REQUEST", "the request is not a valid protobuf message").failure;
      }
      return new ParleyError("INTERNAL", "internal error").failure;
  }
}
