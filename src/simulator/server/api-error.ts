import type { ErrorObject, ErrorResponse } from "@anthropic-ai/sdk/resources/shared.js";

/** The kinds of error that the simulator itself raises. */
type ApiErrorType = ErrorObject["type"];

/** What an error may carry besides its message. */
export interface ApiErrorExtras {
  /** A stable code and its data, sent as `error.details`. */
  readonly details?: { readonly error_code: string; readonly [key: string]: unknown };
  /** Extra response headers, such as `retry-after`. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** A refusal that is answered with Claude's error body. */
export class ApiError extends Error {
  readonly status: number;
  readonly type: ApiErrorType;
  readonly extras: ApiErrorExtras;

  constructor(status: number, type: ApiErrorType, message: string, extras: ApiErrorExtras = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.type = type;
    this.extras = extras;
  }
}

/** A 400 `invalid_request_error`; `path` is the dotted path of the offending member. */
export function invalidRequest(message: string, path?: string): ApiError {
  return new ApiError(400, "invalid_request_error", path ? `${path}: ${message}` : message);
}

/** The JSON body of an error response. */
export function errorBody(
  error: { readonly type: string; readonly message: string; readonly details?: unknown },
  requestId: string,
): Omit<ErrorResponse, "error"> & { error: unknown } {
  const { type, message, details } = error;
  return {
    type: "error",
    error: { type, message, ...(details === undefined ? {} : { details }) },
    request_id: requestId,
  };
}
