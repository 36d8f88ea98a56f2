import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { errorFromJson } from "@connectrpc/connect/protocol-connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { trailerParse } from "@connectrpc/connect/protocol-grpc-web";
import { ChatRequestSchema, StreamChatRequestSchema } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { type Told, toldBy } from "./details.ts";
import { envelope, type Reply } from "./wire.ts";

/** A way to call an RPC: a protocol, and a form of its messages. */
export interface Way {
  readonly rpc: "Chat" | "StreamChat";
  readonly headers: Readonly<Record<string, string>>;
  readonly json: boolean;
  /** Whether messages are length-prefixed. */
  readonly enveloped: boolean;
  /** Header that names the compression of the request. Unset: it cannot be compressed. */
  readonly encodingHeader?: string;
}

const grpc = { enveloped: true, encodingHeader: "grpc-encoding" } as const;
const connectStream = { enveloped: true, encodingHeader: "connect-content-encoding" } as const;
const connect = { enveloped: false, encodingHeader: "content-encoding" } as const;
const te = { te: "trailers" };

export const ways = {
  gRPC: { rpc: "Chat", headers: { "content-type": "application/grpc", ...te }, json: false, ...grpc },
  "gRPC, streaming": {
    rpc: "StreamChat",
    headers: { "content-type": "application/grpc+proto", ...te },
    json: false,
    ...grpc,
  },
  "gRPC with JSON": { rpc: "Chat", headers: { "content-type": "application/grpc+json", ...te }, json: true, ...grpc },
  "gRPC-Web": { rpc: "Chat", headers: { "content-type": "application/grpc-web+proto" }, json: false, ...grpc },
  "gRPC-Web with JSON, streaming": {
    rpc: "StreamChat",
    headers: { "content-type": "application/grpc-web+json" },
    json: true,
    ...grpc,
  },
  Connect: { rpc: "Chat", headers: { "content-type": "application/proto" }, json: false, ...connect },
  "Connect with JSON": { rpc: "Chat", headers: { "content-type": "application/json" }, json: true, ...connect },
  "Connect, streaming": {
    rpc: "StreamChat",
    headers: { "content-type": "application/connect+proto" },
    json: false,
    ...connectStream,
  },
  "Connect with JSON, streaming": {
    rpc: "StreamChat",
    headers: { "content-type": "application/connect+json" },
    json: true,
    ...connectStream,
  },
  "Server-Sent Events": {
    rpc: "StreamChat",
    headers: { "content-type": "application/json", accept: "text/event-stream" },
    json: true,
    enveloped: false,
  },
} as const satisfies Record<string, Way>;

export type WayName = keyof typeof ways;

/** All ways by name. */
export const allWays: readonly (readonly [WayName, Way])[] = Object.entries(ways) as [WayName, Way][];

export function pathOf({ rpc }: Way): string {
  return `/parley.v1.ChatService/${rpc}`;
}

/** A request that is answered, without its envelope. */
export function goodMessage({ rpc, json }: Way, text = "hello"): Uint8Array {
  const chat = create(ChatRequestSchema, { messages: [{ role: Role.USER, text }] });
  const [schema, message] =
    rpc === "Chat"
      ? [ChatRequestSchema, chat]
      : [StreamChatRequestSchema, create(StreamChatRequestSchema, { chat, omitFinalMessage: true })];
  return json ? Buffer.from(toJsonString(schema, message as never)) : toBinary(schema, message as never);
}

/** A message as the body of a request. */
export function bodyOf(way: Way, message: Uint8Array | string): Buffer {
  return way.enveloped ? envelope(message) : Buffer.from(message as Uint8Array);
}

/** What a caller is told by a reply: `undefined` when the call succeeded, or the HTTP status when no protocol speaks. */
export function outcomeOf({ status, headers, body }: Reply): Told | number | undefined {
  const type = headers["content-type"] ?? "";
  if (status !== 200) {
    if (status === undefined || !type.startsWith("application/json")) return status ?? 0;
    return toldBy(errorFromJson(JSON.parse(body.toString()), undefined, new ConnectError("no error", Code.Unknown)));
  }
  if (type.startsWith("application/grpc-web")) {
    const trailer = headers["grpc-status"] === undefined ? trailerParse(lastFrame(body, 0x80)) : plain(headers);
    return toldByTrailer(trailer);
  }
  if (type.startsWith("application/grpc")) return toldByTrailer(plain(headers));
  if (type.startsWith("application/connect+")) return toldByJson(JSON.parse(lastFrame(body, 2).toString()).error);
  if (type.startsWith("text/event-stream")) {
    const data = /(?:^|\n\n)event: error\ndata: (.*)\n\n$/.exec(body.toString())?.[1];
    return toldByJson(data === undefined ? undefined : JSON.parse(data));
  }
  return undefined;
}

/** Without the pseudo-headers of HTTP/2. */
function plain(headers: Reply["headers"]): Headers {
  return new Headers(Object.entries(headers).filter(([name]) => !name.startsWith(":")));
}

function toldByTrailer(trailer: Headers): Told | undefined {
  const status = trailer.get("grpc-status");
  if (status === null) throw new Error("the reply has no status");
  const error = findTrailerError(trailer);
  return error && toldBy(error);
}

function toldByJson(json: unknown): Told | undefined {
  return json === undefined
    ? undefined
    : toldBy(errorFromJson(json as never, undefined, new ConnectError("no error", Code.Unknown)));
}

/** The data of the last length-prefixed frame, which must have these flags. */
function lastFrame(body: Buffer, flags: number): Buffer {
  let frame: { flags: number | undefined; data: Buffer } | undefined;
  for (let offset = 0; offset < body.length; ) {
    const end = offset + 5 + body.readUInt32BE(offset + 1);
    frame = { flags: body[offset], data: body.subarray(offset + 5, end) };
    offset = end;
  }
  if (frame?.flags !== flags) throw new Error("the reply has no end");
  return frame.data;
}
