import {
  create,
  createRegistry,
  type DescExtension,
  type DescFile,
  type DescService,
  type MessageShape,
  type Registry,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import * as v1 from "../../gen/grpc/reflection/v1/reflection_pb.js";
import * as v1alpha from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";

type Question = MessageShape<typeof v1.ServerReflectionRequestSchema>["messageRequest"];
type Answer = MessageShape<typeof v1.ServerReflectionResponseSchema>["messageResponse"];

/**
 * Server reflection (grpc.reflection), so that tools such as `buf curl` need no proto files. In both versions, since
 * older tools ask for `v1alpha`: they differ in the names of their messages only.
 *
 * @param services what is listed, besides reflection itself.
 * @param extras files that no service imports, such as those of error details.
 */
export function registerReflection(
  router: ConnectRouter,
  services: readonly DescService[],
  extras: readonly DescFile[],
): void {
  const catalog = new Catalog([...services, v1.ServerReflection, v1alpha.ServerReflection], extras);
  router.rpc(v1.ServerReflection.method.serverReflectionInfo, async function* (requests) {
    for await (const request of requests) {
      const messageResponse = catalog.answer(request.messageRequest);
      yield { validHost: request.host, originalRequest: request, messageResponse };
    }
  });
  router.rpc(v1alpha.ServerReflection.method.serverReflectionInfo, async function* (requests) {
    for await (const request of requests) {
      const messageResponse = catalog.answer(request.messageRequest as Question);
      yield create(v1alpha.ServerReflectionResponseSchema, {
        validHost: request.host,
        originalRequest: request,
        messageResponse: messageResponse as never,
      });
    }
  });
}

/** Descriptors of services and of all that they depend on. */
class Catalog {
  readonly #services: readonly DescService[];
  readonly #files = new Map<string, DescFile>();
  readonly #types: Registry;

  constructor(services: readonly DescService[], extras: readonly DescFile[]) {
    this.#services = services;
    for (const file of [...services.map((service) => service.file), ...extras].flatMap(withDependencies)) {
      this.#files.set(file.proto.name, file);
    }
    this.#types = createRegistry(...this.#files.values());
  }

  answer(question: Question): Answer {
    switch (question.case) {
      case "listServices": {
        const service = this.#services.map(({ typeName }) => create(v1.ServiceResponseSchema, { name: typeName }));
        return { case: "listServicesResponse", value: create(v1.ListServiceResponseSchema, { service }) };
      }
      case "fileByFilename":
        return fileAnswer(this.#files.get(question.value), question.value);
      case "fileContainingSymbol":
        return fileAnswer(this.#fileOf(question.value), question.value);
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = question.value;
        const extension = this.#extensions(containingType).find(({ number }) => number === extensionNumber);
        return fileAnswer(extension?.file, `extension ${extensionNumber} of ${containingType}`);
      }
      case "allExtensionNumbersOfType": {
        if (this.#types.getMessage(question.value) === undefined) return notFound(question.value);
        const extensionNumber = this.#extensions(question.value).map(({ number }) => number);
        const value = create(v1.ExtensionNumberResponseSchema, { baseTypeName: question.value, extensionNumber });
        return { case: "allExtensionNumbersResponse", value };
      }
      default:
        return errorAnswer(Code.InvalidArgument, "the request asks for nothing");
    }
  }

  /** The file that declares a type, or a member of one: a method, field, oneof or enum value. */
  #fileOf(symbol: string): DescFile | undefined {
    const dot = symbol.lastIndexOf(".");
    const name = symbol.slice(dot + 1);
    const parent = this.#types.get(symbol.slice(0, dot));
    const hasMember =
      (parent?.kind === "service" && parent.methods.some((method) => method.name === name)) ||
      (parent?.kind === "message" && parent.members.some((member) => member.name === name)) ||
      (parent?.kind === "enum" && parent.values.some((value) => value.name === name));
    return this.#types.get(symbol)?.file ?? (hasMember ? parent?.file : undefined);
  }

  #extensions(containingType: string): DescExtension[] {
    return [...this.#types].filter(
      (type) => type.kind === "extension" && type.extendee.typeName === containingType,
    ) as DescExtension[];
  }
}

function withDependencies(file: DescFile): DescFile[] {
  return [file, ...file.dependencies.flatMap(withDependencies)];
}

/** A file with all that it imports, so that a client need not ask for each. */
function fileAnswer(file: DescFile | undefined, asked: string): Answer {
  if (file === undefined) return notFound(asked);
  const files = new Set(withDependencies(file));
  const fileDescriptorProto = Array.from(files, ({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { case: "fileDescriptorResponse", value: create(v1.FileDescriptorResponseSchema, { fileDescriptorProto }) };
}

function notFound(asked: string): Answer {
  return errorAnswer(Code.NotFound, `there is no ${asked}`);
}

function errorAnswer(errorCode: Code, errorMessage: string): Answer {
  return { case: "errorResponse", value: create(v1.ErrorResponseSchema, { errorCode, errorMessage }) };
}
