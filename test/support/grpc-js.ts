import { type DescMethod, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, type Metadata, type ServiceError } from "@grpc/grpc-js";

/** What a caller with grpc-js sees of a call. */
export interface GrpcJsResult {
  readonly messages: Message[];
  readonly error: ServiceError | undefined;
  readonly headers: Metadata | undefined;
  readonly trailers: Metadata | undefined;
}

/** Calls a method with grpc-js, unary or server-streaming. `address` is `host:port`. */
export async function callWithGrpcJs(
  address: string,
  method: DescMethod,
  input: Message,
  options: { readonly deadline?: Date } = {},
): Promise<GrpcJsResult> {
  const client = new Client(address, credentials.createInsecure());
  const path = `/${method.parent.typeName}/${method.name}`;
  const serialize = (message: Message) => Buffer.from(toBinary(method.input, message));
  const deserialize = (bytes: Buffer) => fromBinary(method.output, bytes) as Message;
  const messages: Message[] = [];
  let headers: Metadata | undefined;
  let trailers: Metadata | undefined;
  try {
    const error = await new Promise<ServiceError | undefined>((resolve) => {
      if (method.methodKind === "unary") {
        const call = client.makeUnaryRequest(path, serialize, deserialize, input, options, (failure, message) => {
          if (message !== undefined) messages.push(message);
          resolve(failure ?? undefined);
        });
        call.on("metadata", (metadata) => {
          headers = metadata;
        });
        call.on("status", (status) => {
          trailers = status.metadata;
        });
        return;
      }
      const call = client.makeServerStreamRequest(path, serialize, deserialize, input, options);
      call.on("metadata", (metadata) => {
        headers = metadata;
      });
      call.on("status", (status) => {
        trailers = status.metadata;
      });
      call.on("data", (message: Message) => messages.push(message));
      call.on("error", (failure: ServiceError) => resolve(failure));
      call.on("end", () => resolve(undefined));
    });
    return { messages, error, headers, trailers };
  } finally {
    client.close();
  }
}
