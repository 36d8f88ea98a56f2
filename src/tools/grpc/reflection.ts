import { create, type FileRegistry, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { type Client, type ServiceError, status } from "@grpc/grpc-js";
import {
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from "../../../gen/grpc/reflection/v1/reflection_pb.js";
import { registryOfFiles } from "../../descriptors/image.ts";

/** What a service tells of itself. */
export interface Reflected {
  readonly registry: FileRegistry;
  /** Names of all its services. */
  readonly services: readonly string[];
}

/** The versions of reflection. Their messages are the same but for the name of the package. */
const VERSIONS = ["v1", "v1alpha"];
/** The most files that are asked for: a service that names ever more of them does not keep this process busy. */
const MAX_FILES = 2_000;

/**
 * Asks a service for the descriptors of some of its services, by server reflection (grpc.reflection).
 *
 * @param wanted names of services. Those that are not there are left out.
 * @throws {Error} when the service cannot be reached, has no reflection, breaks off or answers nonsense.
 */
export async function reflect(client: Client, wanted: readonly string[], signal: AbortSignal): Promise<Reflected> {
  for (const version of VERSIONS) {
    try {
      return await ask(client, version, wanted, signal);
    } catch (error) {
      signal.throwIfAborted();
      if ((error as Partial<ServiceError>).code !== status.UNIMPLEMENTED) throw error;
    }
  }
  throw new Error("the service has no server reflection: set descriptors to a descriptor image");
}

async function ask(
  client: Client,
  version: string,
  wanted: readonly string[],
  signal: AbortSignal,
): Promise<Reflected> {
  using stream = new ReflectionStream(client, version, signal);
  const listed = await stream.ask({ case: "listServices", value: "" });
  if (listed.case !== "listServicesResponse") throw new Error("the service does not list its services");
  const services = listed.value.service.map(({ name }) => name);

  const files = new Map<string, Uint8Array>();
  const missing = new Set<string>();
  const add = (bytes: Uint8Array) => {
    const { name, dependency } = fromBinary(FileDescriptorProtoSchema, bytes);
    files.set(name, bytes);
    missing.delete(name);
    for (const other of dependency) if (!files.has(other)) missing.add(other);
  };
  for (const value of new Set(wanted)) {
    const answer = await stream.ask({ case: "fileContainingSymbol", value });
    if (answer.case === "fileDescriptorResponse") answer.value.fileDescriptorProto.forEach(add);
  }
  // What is missing grows while it is walked through.
  for (const value of missing) {
    if (files.size > MAX_FILES) throw new Error(`the service has more than ${MAX_FILES} files of descriptors`);
    const answer = await stream.ask({ case: "fileByFilename", value });
    // Those that every registry has need not be there.
    if (answer.case === "fileDescriptorResponse") answer.value.fileDescriptorProto.forEach(add);
  }
  return { registry: registryOfFiles(files.values()), services };
}

/** A call of ServerReflectionInfo: one question at a time. */
class ReflectionStream implements Disposable {
  readonly #call;
  readonly #answers: AsyncIterator<ServerReflectionResponse>;
  readonly #signal: AbortSignal;
  readonly #cancel = () => this.#call.cancel();

  constructor(client: Client, version: string, signal: AbortSignal) {
    signal.throwIfAborted();
    this.#call = client.makeBidiStreamRequest(
      `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
      (request: ServerReflectionRequest) => Buffer.from(toBinary(ServerReflectionRequestSchema, request)),
      (bytes): ServerReflectionResponse => fromBinary(ServerReflectionResponseSchema, bytes),
    );
    this.#call.on("error", () => {});
    this.#answers = this.#call[Symbol.asyncIterator]() as AsyncIterator<ServerReflectionResponse>;
    this.#signal = signal;
    signal.addEventListener("abort", this.#cancel, { once: true });
  }

  async ask(
    messageRequest: NonNullable<MessageInitShape<typeof ServerReflectionRequestSchema>["messageRequest"]>,
  ): Promise<ServerReflectionResponse["messageResponse"]> {
    this.#call.write(create(ServerReflectionRequestSchema, { messageRequest }));
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error("the service ended the reflection before it had answered");
    return value.messageResponse;
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#cancel);
    this.#call.cancel();
  }
}
