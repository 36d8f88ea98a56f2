import { Code } from "@connectrpc/connect";
import type { ErrorReason } from "../../gen/parley/v1/errors_pb.js";
import type { Failure, TellingError } from "./failure.ts";

/** A name of the proto's ErrorReason without its prefix: what `google.rpc.ErrorInfo.reason` carries. */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED">;

/** The status code of each reason, as errors.proto promises it, and whether the same call may succeed later. */
const reasons: Record<Reason, readonly [code: Code, retryable: boolean]> = {
  INVALID_REQUEST: [Code.InvalidArgument, false],
  NOT_ALLOWED: [Code.InvalidArgument, false],
  NOT_IMPLEMENTED: [Code.Unimplemented, false],
  DEADLINE_EXCEEDED: [Code.DeadlineExceeded, false],
  CANCELLED: [Code.Canceled, false],
  SHUTTING_DOWN: [Code.Unavailable, true],
  UPSTREAM_UNREACHABLE: [Code.Unavailable, true],
  UPSTREAM_TIMEOUT: [Code.Unavailable, true],
  UPSTREAM_STREAM_TRUNCATED: [Code.Unavailable, true],
  UPSTREAM_STREAM_STALLED: [Code.Unavailable, true],
  UPSTREAM_STREAM_MALFORMED: [Code.Unavailable, true],
  UPSTREAM_CREDENTIAL_UNAVAILABLE: [Code.Unavailable, true],
  INTERNAL: [Code.Internal, false],
  CALLER_RATE_LIMITED: [Code.ResourceExhausted, true],
  CALLER_BUDGET_EXCEEDED: [Code.ResourceExhausted, false],
  RUN_EVENTS_EXPIRED: [Code.NotFound, false],
  RUN_NOT_RESUMABLE: [Code.FailedPrecondition, false],
  CONVERSATION_VERSION_CONFLICT: [Code.Aborted, true],
  TOOL_NOT_REGISTERED: [Code.InvalidArgument, false],
  STRUCTURED_OUTPUT_INVALID: [Code.FailedPrecondition, false],
  REQUEST_TOO_LARGE: [Code.ResourceExhausted, false],
  NOT_FOUND: [Code.NotFound, false],
  RUN_NOT_WAITING: [Code.FailedPrecondition, false],
  RUN_LIMIT_REACHED: [Code.ResourceExhausted, true],
  ACTION_EXPIRED: [Code.Aborted, false],
};

/** The limits that are Parley's own. */
const quotas: Partial<Record<Reason, string>> = {
  REQUEST_TOO_LARGE: "request-bytes",
  RUN_LIMIT_REACHED: "active-runs",
};

/** What UNAVAILABLE callers are told to wait when nothing better is known, in milliseconds. */
export const DEFAULT_RETRY_DELAY_MS = 1_000;

interface MoreOfFailure extends Pick<Partial<Failure>, "violations" | "resource" | "upstreamRequestId"> {
  readonly cause?: unknown;
}

/** A failure that Parley itself found. */
export class ParleyError extends Error implements TellingError {
  override readonly name = "ParleyError";
  readonly failure: Failure;

  constructor(reason: Reason, message: string, more: MoreOfFailure = {}) {
    super(message, { cause: more.cause });
    const [code, retryable] = reasons[reason];
    this.failure = {
      code,
      domain: "parley",
      reason,
      message,
      retryable,
      alert: reason === "UPSTREAM_CREDENTIAL_UNAVAILABLE" ? "credential_unavailable" : undefined,
      retryDelayMs: code === Code.Unavailable || reason === "RUN_LIMIT_REACHED" ? DEFAULT_RETRY_DELAY_MS : undefined,
      violations: more.violations,
      resource: more.resource,
      quota: quotas[reason] === undefined ? undefined : { subject: quotas[reason], description: message },
      upstreamRequestId: more.upstreamRequestId,
    };
  }
}

/** INVALID_ARGUMENT for one field. */
export function invalidField(field: string, description: string): ParleyError {
  return new ParleyError("INVALID_REQUEST", `${field}: ${description}`, { violations: [{ field, description }] });
}
