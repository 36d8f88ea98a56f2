import { type DescMethod, type Message, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { status } from "@grpc/grpc-js";
import type { GrpcServiceConfig } from "../../config/tools-schema.ts";
import { MessageError, parseMessage } from "../../descriptors/message-json.ts";
import { abortStatus } from "../abort-status.ts";
import { type Tool, type ToolContext, ToolError, type ToolResult } from "../tool.ts";
import { AnswerReader } from "./answer-reader.ts";
import { CallFailure, toToolError } from "./call-failure.ts";
import { callMetadata, withTrace } from "./call-metadata.ts";
import { collect } from "./collect.ts";
import { callStream, callUnary, type OutgoingCall } from "./outgoing-call.ts";
import { withRetries } from "./retries.ts";
import type { ServiceChannel } from "./service-channel.ts";
import type { MethodDefinition } from "./tool-definitions.ts";

/** How much earlier a stream is over than its call, so that there is time for what came: in milliseconds, and as a part. */
const STREAM_RESERVE_MS = 250;
const STREAM_RESERVE_PART = 0.1;

/** The tool that calls a method. */
export function createMethodTool(
  { method, types, ...properties }: MethodDefinition,
  config: GrpcServiceConfig,
  channel: ServiceChannel,
): Tool {
  const { responseBytes, forwardHeaders } = config;
  const methodName = `${method.parent.typeName}/${method.name}`;
  const path = `/${methodName}`;
  const isMutating = properties.sideEffect === "unknown";
  const isStream = method.methodKind === "server_streaming";
  const reader = new AnswerReader(method, types.registry, responseBytes, isMutating);

  async function callOnce(outgoing: OutgoingCall, { trace, progress, deadline }: ToolContext): Promise<ToolResult> {
    using lease = channel.lease();
    const traced = trace.grpcRequest(methodName, config.target);
    const call = { ...outgoing, metadata: withTrace(outgoing.metadata, traced.headers) };
    let errorType: string | undefined;
    try {
      if (!isStream) return { content: reader.text(await callUnary(lease.client, call)) };
      return await collect(callStream(lease.client, call), reader, responseBytes, progress);
    } catch (error) {
      errorType = errorTypeOf(error, { signal: call.signal, deadline });
      throw error;
    } finally {
      traced.ended(errorType);
    }
  }

  async function call(inputJson: string, context: ToolContext): Promise<ToolResult> {
    const request = encode(method, read(inputJson));
    const metadata = callMetadata(context, forwardHeaders);
    const signal = AbortSignal.any([context.signal, channel.closing]);
    const attempt = () =>
      callOnce({ path, request, metadata, signal, deadline: deadlineOf(context, isStream) }, context);
    try {
      return await (isMutating ? attempt() : withRetries(attempt, { signal, deadline: context.deadline }));
    } catch (error) {
      throw error instanceof CallFailure ? toToolError(error, responseBytes, isMutating) : error;
    }
  }

  function read(inputJson: string): Message {
    try {
      return parseMessage(method.input, inputJson, types.registry, types.validator);
    } catch (error) {
      if (error instanceof MessageError) throw new ToolError(Code.InvalidArgument, error.message, { cause: error });
      throw error;
    }
  }

  return { ...properties, call };
}

/** The status of an attempt that failed, or the kind of the error. */
function errorTypeOf(error: unknown, limits: Pick<ToolContext, "signal" | "deadline">): string {
  const aborted = abortStatus(limits);
  if (aborted !== undefined) return aborted;
  if (error instanceof CallFailure) return status[error.status.code] ?? status[status.UNKNOWN];
  return error instanceof Error ? error.name : typeof error;
}

function encode(method: DescMethod, message: Message): Buffer {
  const { buffer, byteOffset, byteLength } = toBinary(method.input, message);
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** When the service must have answered, by `Date.now()`: a little before the time of the call is up. */
function deadlineOf({ deadline }: ToolContext, isStream: boolean): number {
  const left = deadline - performance.now();
  const reserve = isStream ? Math.min(STREAM_RESERVE_MS, left * STREAM_RESERVE_PART) : 0;
  return Date.now() + Math.floor(left - reserve) - 1;
}
