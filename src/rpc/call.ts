import type { DescMethodServerStreaming, DescMethodUnary, Message, MessageShape } from "@bufbuild/protobuf";
import type { Context, SpanContext } from "@opentelemetry/api";
import type { Run } from "../../gen/parley/v1/agent_service_pb.js";
import type { ChatTurn } from "./chat-turn.ts";
import type { Output } from "./output.ts";

/** What is known of a call: filled in while it runs, and read meanwhile and at its end. Holds no prompt and no answer. */
export interface CallRecord {
  /** Parley's identifier of the call, or the caller's own (`x-request-id`). */
  readonly id: string;
  /** Path of the method, `parley.v1.ChatService/Chat`. */
  readonly method: string;
  /** `grpc`, `grpc-web`, `connect`, `sse`, or `unknown`. */
  readonly protocol: string;
  /** Called by machines, every few seconds: logged at debug level only, and not traced. */
  readonly quiet: boolean;
  /** Address that the call came from. */
  readonly peer: string;
  /** Who calls: the name in the client's certificate, or `anonymous`. */
  readonly caller: string;
  /** By `performance.now()`. */
  readonly startedAt: number;
  /** The trace that the call is part of, with its own span if it has one. Unset: it is part of none. */
  trace?: Context | undefined;
  /** When the first part of an answer was sent; for Chat, when it came from Claude. By `performance.now()`. */
  firstOutputAt?: number;
  /** gRPC status code that the call ended with, 0 for OK. Unset: it has not ended, or never came to its handler. */
  code?: number;
  /** `google.rpc.ErrorInfo.reason`. */
  reason?: string;
  /** Name of an alert that the failure raises: nobody but the operator can mend it. */
  alert?: string | undefined;
  /** Claude's identifier of the request that failed. */
  upstreamRequestId?: string | undefined;
  /** What was thrown, for an error that says nothing of itself, and otherwise what caused it. */
  fault?: unknown;
  /** Path of the ChatRequest in the request message: `""` or `"chat."`. */
  chatPath?: string;
  /** Turn with Claude. */
  turn?: ChatTurn;
  /** Run that the call started or watches. */
  run?: Run;
  /** Span of a run that the call is about without being a part of its trace. */
  linkedSpan?: SpanContext | undefined;
  /** Messages that were sent. Unset: its handler has not come to its end. */
  messagesSent?: number;
  /** When its message had been read, by `performance.now()`. Unset: it never was. */
  receivedAt?: number;
  /** When the handler came to its end, by `performance.now()`. */
  handledAt?: number;
  /** Last sequence number that was sent. */
  lastSequence?: number;
  labels?: Readonly<Record<string, string>>;
  /** When it must be over, by `performance.now()`. Infinity: never. Unset: it never came to its handler. */
  deadline?: number;
  /** Resolves when the handler has come to its end, which can be after the caller has gone. Unset: it never ran. */
  settled?: Promise<void>;
}

/** A call on its way through the interceptors to its handler. */
export interface Call {
  readonly record: CallRecord;
  /** Aborted when the deadline passes, the caller goes away, or the service shuts down. */
  readonly signal: AbortSignal;
  /** When the call must be over, by `performance.now()`. Infinity: never. */
  readonly deadline: number;
  /** Value of a header of the request, by its name in small letters. Undefined: it has none. May outlive the call. */
  readonly header: (name: string) => string | undefined;
}

/** Runs before a handler, in a fixed order. Throws to refuse the call. */
export type Interceptor = (call: Call, method: Method["desc"], input: Message) => void | Promise<void>;

/** A unary RPC. */
export interface UnaryMethod<D extends DescMethodUnary = DescMethodUnary> {
  readonly desc: D;
  readonly handle: (input: MessageShape<D["input"]>, call: Call) => Promise<MessageShape<D["output"]>>;
  /** Called by machines, every few seconds: logged at debug level only. */
  readonly quiet?: boolean;
}

/**
 * Serialises a message at a position of a buffer, and returns the position after it; undefined: `toBinary` shall do it.
 */
export type WriteMessage = (message: Message, target: Buffer, start: number) => number | undefined;

/** A server-streaming RPC. */
export interface StreamingMethod<D extends DescMethodServerStreaming = DescMethodServerStreaming> {
  readonly desc: D;
  readonly handle: (
    input: MessageShape<D["input"]>,
    call: Call,
    out: Output<MessageShape<D["output"]>>,
  ) => Promise<void>;
  readonly quiet?: boolean;
  /** Serialises the most common messages, of which there are many, faster than `toBinary`, and to the same bytes. */
  readonly write?: WriteMessage;
  /** A call lasts as long as the caller likes: it gets no deadline of the service's. */
  readonly unlimited?: boolean;
}

export type Method = UnaryMethod | StreamingMethod;

/** Types the handler of a unary RPC by its descriptor. */
export function unary<D extends DescMethodUnary>(method: UnaryMethod<D>): Method {
  return method as unknown as UnaryMethod;
}

/** Types the handler of a server-streaming RPC by its descriptor. */
export function streaming<D extends DescMethodServerStreaming>(method: StreamingMethod<D>): Method {
  return method as unknown as StreamingMethod;
}
