import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { create, fromBinary, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { type Told, toldBy, toldByStatus } from "../support/details.ts";
import { trust } from "../support/tls.ts";

const { chat: CHAT, streamChat: STREAM_CHAT } = ChatService.method;
type ChatInput = MessageInitShape<typeof CHAT.input>;
type StreamChatEvents = AsyncIterable<MessageShape<typeof STREAM_CHAT.output>>;

/** A client of the service over gRPC, on a connection of its own: with TLS, if its URL is one of HTTPS. */
export interface Caller extends Disposable {
  chat(input: ChatInput): Promise<MessageShape<typeof CHAT.output>>;
  streamChat(chat: ChatInput, signal?: AbortSignal): StreamChatEvents;
  /** What one of its errors tells. */
  told(error: unknown): Told;
}

/** Makes a client of `url`. */
export const callers: Readonly<Record<string, (url: string) => Caller>> = {
  "grpc-js": callWithGrpcJs,
  "connect-node": callWithConnect,
};

/** `serviceConfig` is JSON, such as of when to try again. */
export function callWithGrpcJs(url: string, serviceConfig?: string): Caller {
  const { protocol, host } = new URL(url);
  const security = protocol === "https:" ? credentials.createSsl(trust.ca) : credentials.createInsecure();
  const client = new Client(host, security, {
    "grpc.use_local_subchannel_pool": 1,
    ...(serviceConfig !== undefined && { "grpc.service_config": serviceConfig }),
  });
  return {
    chat(input) {
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          `/${ChatService.typeName}/${CHAT.name}`,
          (message: MessageShape<typeof CHAT.input>) => Buffer.from(toBinary(CHAT.input, message)),
          (bytes) => fromBinary(CHAT.output, bytes),
          create(CHAT.input, input),
          (error, message) => (message === undefined ? reject(error) : resolve(message)),
        );
      });
    },
    streamChat(chat, signal) {
      const call = client.makeServerStreamRequest(
        `/${ChatService.typeName}/${STREAM_CHAT.name}`,
        (message: MessageShape<typeof STREAM_CHAT.input>) => Buffer.from(toBinary(STREAM_CHAT.input, message)),
        (bytes) => fromBinary(STREAM_CHAT.output, bytes),
        create(STREAM_CHAT.input, { chat }),
      );
      signal?.addEventListener("abort", () => call.cancel());
      return call;
    },
    told(error) {
      const { code, details, metadata } = error as ServiceError;
      const [status] = metadata.get("grpc-status-details-bin");
      if (status !== undefined) return toldByStatus(status as Buffer);
      return { code: Code[code] ?? "", message: details };
    },
    [Symbol.dispose]: () => client.close(),
  };
}

/** A caller whose connection can break. */
export interface ConnectCaller extends Caller {
  vanish(): void;
}

export function callWithConnect(url: string): ConnectCaller {
  const { protocol, hostname: host, port: portText } = new URL(url);
  const port = Number(portText);
  const sockets: Socket[] = [];
  const transport = createGrpcTransport({
    baseUrl: url,
    nodeOptions: {
      createConnection() {
        const tls = { host, port, ...trust, ALPNProtocols: ["h2"] };
        const socket = protocol === "https:" ? connectTls(tls) : connect({ host, port });
        sockets.push(socket);
        return socket;
      },
    },
  });
  const vanish = () => {
    for (const socket of sockets) socket.destroy();
  };
  const client = createClient(ChatService, transport);
  return {
    chat: (input) => client.chat(input),
    streamChat: (chat, signal) => client.streamChat({ chat }, signal === undefined ? {} : { signal }),
    told: toldBy,
    vanish,
    [Symbol.dispose]: vanish,
  };
}
