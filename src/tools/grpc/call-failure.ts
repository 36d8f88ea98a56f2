import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { type Any, anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { type ServiceError, status } from "@grpc/grpc-js";
import { BadRequestSchema, LocalizedMessageSchema } from "../../../gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "../../../gen/google/rpc/status_pb.js";
import { ToolError } from "../tool.ts";

/** The longest message that Claude is told, in characters, and the most fields that it names. */
const MAX_MESSAGE_LENGTH = 4_000;
const MAX_FIELDS = 10;

/** A call that ended with a status other than OK. */
export class CallFailure extends Error {
  override readonly name = "CallFailure";
  readonly status: ServiceError;
  /** Whether it was the service that said so, or something between. Otherwise grpc-js says it of itself. */
  readonly isAnswer: boolean;
  /** Messages that had been received of a stream. */
  readonly received: number;

  constructor(error: ServiceError, hasHeaders: boolean, received = 0) {
    super(error.details, { cause: error });
    this.status = error;
    // An answer of trailers alone has this one, too.
    this.isAnswer = hasHeaders || error.metadata.get("content-type").length > 0;
    this.received = received;
  }

  get code(): Code {
    if (this.isBrokenOff) return Code.Unavailable;
    return this.status.code in Code ? (this.status.code as number) : Code.Unknown;
  }

  /** Whether the connection went away. A server that ends abruptly resets its streams as if it had cancelled them. */
  get isBrokenOff(): boolean {
    const { code, details } = this.status;
    return (
      (!this.isAnswer && code === status.UNAVAILABLE) || (code === status.CANCELLED && details === "Call cancelled")
    );
  }

  /** Whether the service has certainly not seen the call. */
  get isUnsent(): boolean {
    return (
      !this.isAnswer &&
      /^(?:\w+: )?No connection established|^Name resolution failed|^Channel closed before call started/.test(
        this.status.details,
      )
    );
  }
}

/**
 * What Claude is told of a failed call: the code, the service's message, and the details that help to do better.
 *
 * @param maxBytes the most bytes of a message that are received.
 * @param isMutating whether it matters if the call has taken effect.
 */
export function toToolError(failure: CallFailure, maxBytes: number, isMutating: boolean): ToolError {
  const { code, received } = failure;
  const doubt = isMutating && isInDoubt(failure, maxBytes) ? ": the call may or may not have taken effect" : "";
  const after = received > 0 ? ` (after ${received} ${received === 1 ? "message" : "messages"})` : "";
  const text = `${status[code]}: ${messageOf(failure, maxBytes)}${after}${doubt}`;
  return new ToolError(code, text.toWellFormed(), { cause: failure });
}

/** With these, the service may have done what it was asked for, or may still do it. */
const DOUBTFUL = [Code.Unavailable, Code.DeadlineExceeded, Code.Canceled];

/** Whether the call may have taken effect all the same. */
function isInDoubt(failure: CallFailure, maxBytes: number): boolean {
  if (failure.isUnsent) return false;
  return !failure.isAnswer || DOUBTFUL.includes(failure.code) || isTooLarge(failure, maxBytes);
}

/** Whether grpc-js refused the answer because of its size. */
function isTooLarge({ status: { details } }: CallFailure, maxBytes: number): boolean {
  return details.startsWith("Received message larger than max") && details.includes(` ${maxBytes})`);
}

function messageOf(failure: CallFailure, maxBytes: number): string {
  const { status, code, isAnswer, isBrokenOff, isUnsent } = failure;
  if (isTooLarge(failure, maxBytes)) return tooLarge(maxBytes);
  // What grpc-js says itself has addresses in it, which are nobody's business.
  if (isUnsent) return "the service cannot be reached";
  if (!isAnswer && code === Code.DeadlineExceeded) return "the service did not answer in time";
  if (isBrokenOff) return "the connection to the service broke off";
  const more = helpOf(status);
  const told = status.details || (more.length > 0 ? "" : "the service gave no reason");
  return cut(`${told}${more.length > 0 ? `${told && " "}(${more.join("; ")})` : ""}`);
}

/** What Claude is told of an answer that is larger than it may be. */
export function tooLarge(maxBytes: number): string {
  return `the answer is larger than ${maxBytes} bytes, the limit: ask for less at a time`;
}

/** What the details of an error say beyond its message. */
function helpOf({ metadata, details }: ServiceError): string[] {
  const [bytes] = metadata.get("grpc-status-details-bin");
  if (!(bytes instanceof Buffer)) return [];
  let told: Status;
  try {
    told = fromBinary(StatusSchema, bytes);
  } catch {
    return [];
  }
  const help: string[] = [];
  for (const any of told.details) {
    const text = unpack(any, LocalizedMessageSchema)?.message;
    if (text !== undefined && text !== "" && text !== details) help.push(text);
    for (const { field, description } of unpack(any, BadRequestSchema)?.fieldViolations ?? []) {
      if (help.length < MAX_FIELDS) help.push(`${field}: ${description}`);
    }
  }
  return help;
}

/** Undefined: it is of another type, or cannot be read. */
function unpack<D extends DescMessage>(any: Any, schema: D): MessageShape<D> | undefined {
  try {
    return anyUnpack(any, schema);
  } catch {
    return undefined;
  }
}

function cut(text: string): string {
  return text.length > MAX_MESSAGE_LENGTH ? `${text.slice(0, MAX_MESSAGE_LENGTH)}…` : text;
}
