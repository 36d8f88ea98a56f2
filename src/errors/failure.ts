import type { Code } from "@connectrpc/connect";

/** A field of a request and what is wrong with it. */
export interface FieldViolation {
  /** Path in the request message, for example `chat.messages[0].content[2].tool_use.input_json`. */
  readonly field: string;
  readonly description: string;
}

/** All that a caller is told of a failed call. Every error of ours says this of itself. */
export interface Failure {
  readonly code: Code;
  /** `google.rpc.ErrorInfo.domain`: who found the fault. */
  readonly domain: "parley" | "api.anthropic.com";
  /** `google.rpc.ErrorInfo.reason`: stable, in capitals. */
  readonly reason: string;
  /** For people. Holds nothing that the caller may not read. */
  readonly message: string;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** How long to wait before trying again, in milliseconds. Unset: waiting does not help, or nobody knows. */
  readonly retryDelayMs?: number | undefined;
  readonly httpStatus?: number | undefined;
  readonly upstreamRequestId?: string | undefined;
  readonly violations?: readonly FieldViolation[] | undefined;
  readonly resource?: { readonly type: string; readonly name: string } | undefined;
  /** Set when nobody but the operator can mend it: the log tells of it at level error, under this name. */
  readonly alert?: string | undefined;
  readonly quota?: { readonly subject: string; readonly description: string } | undefined;
}

/** An Error that tells callers of itself. Anything else reaches them as INTERNAL without its text. */
export interface TellingError extends Error {
  readonly failure: Failure;
}

/** Whether the error tells callers of itself. */
export function isTelling(error: unknown): error is TellingError {
  return error instanceof Error && typeof (error as Partial<TellingError>).failure === "object";
}
