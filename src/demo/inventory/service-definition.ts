import { type DescMessage, type DescService, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import type { ServiceDefinition } from "@grpc/grpc-js";

/** What grpc-js needs to serve a service that there is a descriptor of, and no generated code. */
export function serviceDefinition(service: DescService): ServiceDefinition {
  const serialize = (desc: DescMessage) => (message: Message) => Buffer.from(toBinary(desc, message));
  const deserialize = (desc: DescMessage) => (bytes: Buffer) => fromBinary(desc, bytes);
  const methods = service.methods.map(({ name, input, output, methodKind }) => [
    name,
    {
      path: `/${service.typeName}/${name}`,
      requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
      responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
      requestSerialize: serialize(input),
      requestDeserialize: deserialize(input),
      responseSerialize: serialize(output),
      responseDeserialize: deserialize(output),
    },
  ]);
  return Object.fromEntries(methods);
}
