import { create, toBinary } from "@bufbuild/protobuf";
import { ChatRequestSchema, StreamChatRequestSchema } from "../../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../../gen/parley/v1/content_pb.js";
import { GrpcConnection, grpcHeader, grpcMessage } from "./grpc-connection.ts";
import { HttpConnection } from "./http-connection.ts";
import { TOKEN_LENGTH, type TokenCounter } from "./tokens.ts";

/** The two kinds of calls: the answer as it is written, or whole. */
export type CallKind = "stream" | "unary";

export interface CallResult {
  /** Whether the answer came to its end. */
  readonly complete: boolean;
  readonly tokens: number;
}

/** Makes calls to a server, in its protocol. */
export interface Caller {
  /**
   * Makes a call.
   *
   * @param name goes to the upstream with the prompt.
   * @returns what cancels the call: nothing more is told of it then.
   */
  call(kind: CallKind, counter: TokenCounter, name: string, onEnd: (result: CallResult) => void): () => void;
  close(): void;
}

/** Connections of callers to a gRPC server. Calls are spread over them. */
const CONNECTIONS = 8;

const DEADLINE_SECONDS = 120;
const headers = {
  stream: grpcHeader("/parley.v1.ChatService/StreamChat", DEADLINE_SECONDS),
  unary: grpcHeader("/parley.v1.ChatService/Chat", DEADLINE_SECONDS),
};

export async function openGrpcCaller(port: number, reads = true): Promise<Caller> {
  const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () => GrpcConnection.open(port, reads)));
  let next = 0;
  const requests = new Map<string, Buffer>();
  return {
    call(kind, counter, name, onEnd) {
      const connection = connections[next++ % CONNECTIONS] as GrpcConnection;
      const key = `${kind} ${name}`;
      const request = requests.get(key) ?? grpcRequest(kind, name);
      if (name === "") requests.set(key, request);
      const call = new GrpcCall(kind, counter, onEnd);
      const id = connection.call(headers[kind], request, call);
      return () => connection.cancel(id);
    },
    close() {
      for (const connection of connections) connection.close();
    },
  };
}

function grpcRequest(kind: CallKind, name: string): Buffer {
  const chat = { messages: [{ role: Role.USER, text: promptOf(name) }] };
  return grpcMessage(
    kind === "unary"
      ? toBinary(ChatRequestSchema, create(ChatRequestSchema, chat))
      : toBinary(StreamChatRequestSchema, create(StreamChatRequestSchema, { chat })),
  );
}

function promptOf(name: string): string {
  return `Tell me something that I do not know yet.${name}`;
}

/** Reads the responses of a gRPC call as far as it must: of a stream, the texts of deltas. */
class GrpcCall {
  readonly #kind: CallKind;
  readonly #counter: TokenCounter;
  readonly #onEnd: (result: CallResult) => void;
  #tokens = 0;

  constructor(kind: CallKind, counter: TokenCounter, onEnd: (result: CallResult) => void) {
    this.#kind = kind;
    this.#counter = counter;
    this.#onEnd = onEnd;
  }

  message(bytes: Buffer, start: number, end: number): void {
    if (this.#kind === "unary") {
      this.#tokens = 1;
      return;
    }
    // StreamChatResponse: the sequence is field 1, a delta field 4, of which the text is field 2, after index 1 if not 0.
    let at = afterVarint(bytes, start + 1);
    if (bytes[at] !== 0x22) return;
    at = afterVarint(bytes, at + 1);
    if (bytes[at] === 0x08) at = afterVarint(bytes, at + 1);
    const textStart = afterVarint(bytes, at + 1);
    this.#tokens += (end - textStart) / TOKEN_LENGTH;
    this.#counter.text(bytes, textStart, end);
  }

  end(complete: boolean): void {
    this.#onEnd({ complete, tokens: this.#tokens });
  }
}

function afterVarint(bytes: Buffer, start: number): number {
  let at = start;
  while ((bytes[at] ?? 0) > 127) at++;
  return at + 1;
}

/** Connections to a server that speaks Claude's own API: one for each call at a time. */
export function openHttpCaller(port: number, path: string, headers: Readonly<Record<string, string>>): Caller {
  const idle: HttpConnection[] = [];
  const all = new Set<HttpConnection>();
  return {
    call(kind, counter, name, onEnd) {
      let cancelled = false;
      let tokens = 0;
      let connection: HttpConnection | undefined;
      const start = (opened: HttpConnection) => {
        connection = opened;
        all.add(opened);
        if (cancelled) return opened.close();
        opened.send(httpRequest(path, headers, kind, name), {
          data(bytes) {
            if (!cancelled) tokens += counter.scan(bytes);
          },
          end(complete) {
            if (complete) idle.push(opened);
            else all.delete(opened);
            if (!cancelled) onEnd({ complete, tokens });
          },
        });
      };
      const reused = idle.pop();
      if (reused === undefined) void HttpConnection.open(port).then(start);
      else start(reused);
      return () => {
        cancelled = true;
        connection?.close();
      };
    },
    close() {
      for (const connection of all) connection.close();
    },
  };
}

function httpRequest(path: string, headers: Readonly<Record<string, string>>, kind: CallKind, name: string): Buffer {
  const body = JSON.stringify({
    model: "claude-sonnet-5-5",
    max_tokens: 4_096,
    stream: kind === "stream",
    messages: [{ role: "user", content: promptOf(name) }],
  });
  const fields = { host: "127.0.0.1", "content-type": "application/json", "content-length": body.length, ...headers };
  const lines = Object.entries(fields).map(([field, value]) => `${field}: ${value}\r\n`);
  return Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join("")}\r\n${body}`);
}
