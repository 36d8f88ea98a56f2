import { Code } from "@connectrpc/connect";
import { ProtocolError, ProtocolErrorCode, SdkError, SdkErrorCode, SdkHttpError } from "@modelcontextprotocol/client";
import { ToolError } from "../tool.ts";
import { ResponseTooLarge } from "./bounded-fetch.ts";
import { unansweredBecause } from "./http-transport.ts";

/** A call that failed. */
export interface CallFailure {
  /** What Claude is told. */
  readonly error: ToolError;
  /** Whether the server has certainly done nothing, so that the call can be made again whatever it does. */
  readonly isUntouched: boolean;
}

/** The most characters of a server's own words about an error. */
const MAX_MESSAGE_LENGTH = 4_000;

/** JSON-RPC's and MCP's codes of errors. What a server has codes of its own for is UNKNOWN. */
const protocolCodes = new Map<number, Code>([
  [ProtocolErrorCode.ParseError, Code.Internal],
  [ProtocolErrorCode.InvalidRequest, Code.Internal],
  [ProtocolErrorCode.MethodNotFound, Code.Unimplemented],
  [ProtocolErrorCode.InvalidParams, Code.InvalidArgument],
  [ProtocolErrorCode.InternalError, Code.Internal],
  [ProtocolErrorCode.ResourceNotFound, Code.NotFound],
  [ProtocolErrorCode.MissingRequiredClientCapability, Code.FailedPrecondition],
  [ProtocolErrorCode.UnsupportedProtocolVersion, Code.Unavailable],
  [ProtocolErrorCode.UrlElicitationRequired, Code.FailedPrecondition],
]);

/** Statuses of HTTP that are not answers to the call itself. */
const statuses = new Map<number, readonly [code: Code, message: string]>([
  // 400 and 404 remain only where a new session did not help.
  [400, [Code.Unavailable, "the server of the tool refused the request"]],
  [404, [Code.Unavailable, "the server of the tool is not there"]],
  [401, [Code.PermissionDenied, "the server of the tool refused the service's credential"]],
  [403, [Code.PermissionDenied, "the server of the tool does not allow the call"]],
  [413, [Code.InvalidArgument, "the arguments are too large for the server of the tool"]],
  [429, [Code.ResourceExhausted, "the server of the tool allows no more calls at the moment"]],
  [408, [Code.Unavailable, "the server of the tool is not available"]],
]);

/** Those with which a server has not looked at the call: a session that is gone, a token that has expired. */
const UNTOUCHED_STATUSES = [400, 401, 404];

/** Errors of connecting: nothing was sent. */
const UNTOUCHED_CODES = [
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "UND_ERR_CONNECT_TIMEOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
];

export function unavailable(cause?: unknown): ToolError {
  return new ToolError(Code.Unavailable, "the server of the tool is not available", { cause });
}

/** What an error of the SDK's means for the call that it ended. */
export function toCallFailure(error: unknown): CallFailure {
  return { error: error instanceof ToolError ? error : toToolError(error), isUntouched: isUntouched(error) };
}

function toToolError(error: unknown): ToolError {
  if (error instanceof ResponseTooLarge) return new ToolError(Code.ResourceExhausted, error.message, { cause: error });
  if (error instanceof ProtocolError) return ofProtocol(error);
  if (error instanceof SdkHttpError) {
    const [code, message] = statuses.get(error.status) ?? [];
    if (code !== undefined && message !== undefined) return new ToolError(code, message, { cause: error });
    return error.status >= 500 ? unavailable(error) : internal(error);
  }
  if (error instanceof SdkError) return ofSdk(error);
  // What `fetch` throws when there is no connection. What cannot be parsed is a SyntaxError.
  if (error instanceof TypeError) return unavailable(error);
  return internal(error);
}

/** An error that the server answered with, or that stands for an answer that did not come. */
function ofProtocol(error: ProtocolError): ToolError {
  const unanswered = unansweredBecause(error.data);
  if (unanswered !== undefined) {
    return unanswered.cause instanceof ResponseTooLarge ? toToolError(unanswered.cause) : unavailable(error);
  }
  const words = error.message.slice(0, MAX_MESSAGE_LENGTH) || "the server of the tool answered with an error";
  return new ToolError(protocolCodes.get(error.code) ?? Code.Unknown, words, { cause: error });
}

function ofSdk(error: SdkError): ToolError {
  switch (error.code) {
    case SdkErrorCode.RequestTimeout:
      return new ToolError(Code.DeadlineExceeded, "the tool did not answer in time", { cause: error });
    case SdkErrorCode.ConnectionClosed:
    case SdkErrorCode.NotConnected:
    case SdkErrorCode.SendFailed:
      return unavailable(error);
    case SdkErrorCode.UnsupportedResultType:
    case SdkErrorCode.InputRequiredRoundsExceeded:
      return new ToolError(Code.FailedPrecondition, "the tool asks for further input, which it cannot be given", {
        cause: error,
      });
    default:
      return internal(error);
  }
}

function internal(cause: unknown): ToolError {
  return new ToolError(Code.Internal, "the server of the tool gave an answer that cannot be read", { cause });
}

function isUntouched(error: unknown): boolean {
  if (error instanceof SdkHttpError) return UNTOUCHED_STATUSES.includes(error.status);
  const cause = error instanceof TypeError ? error.cause : undefined;
  return cause instanceof Error && "code" in cause && UNTOUCHED_CODES.includes(String(cause.code));
}
