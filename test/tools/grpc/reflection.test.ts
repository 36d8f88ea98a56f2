import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, type FileDescriptorSet, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import {
  type Server,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import {
  ServerReflection,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from "../../../gen/grpc/reflection/v1/reflection_pb.js";
import { INVENTORY_IMAGE } from "../../../src/demo/inventory/inventory-service.ts";
import { serviceDefinition } from "../../../src/demo/inventory/service-definition.ts";
import { loadImage } from "../../../src/descriptors/image.ts";
import { createGrpcTools } from "../../../src/tools/grpc/grpc-tools.ts";
import type { Tool, ToolSource } from "../../../src/tools/tool.ts";
import { changedImage, contextOf, grpcConfig, INVENTORY, jsonOf, startService, toolOf } from "./service.ts";

const handlers = { GetStock: () => ({ sku: "TENT-2P", name: "Tent for two" }) };
const stock = { sku: "TENT-2P", name: "Tent for two", levels: [] };

/** What `@grpc/reflection` needs to tell of the inventory service. */
function reflection(): ReflectionService {
  const service = loadImage(INVENTORY_IMAGE).getService(INVENTORY);
  if (service === undefined) throw new Error("the image has no inventory service");
  const seen = new Set([service.file]);
  for (const file of seen) for (const other of file.dependencies) seen.add(other);
  const fileDescriptorProtos = Array.from(seen, ({ proto }) => Buffer.from(toBinary(FileDescriptorProtoSchema, proto)));
  const methods = serviceDefinition(service);
  const type = { format: "Protocol Buffer 3 DescriptorProto", fileDescriptorProtos };
  const described = Object.fromEntries(Object.entries(methods).map(([name, method]) => [name, { ...method, ...type }]));
  return new ReflectionService({ [INVENTORY]: described, "inventory.v1.File": type } as never);
}

/** Only one of the two versions of reflection. */
function only(version: "v1" | "v1alpha"): (server: Server) => void {
  return (server) => {
    reflection().addToServer({
      addService(definition: ServiceDefinition, implementation: UntypedServiceImplementation) {
        const [method] = Object.values(definition);
        if (method?.path.startsWith(`/grpc.reflection.${version}.`)) server.addService(definition, implementation);
      },
    });
  };
}

/** The request of GetStock, in a file of its own. */
function splitImage({ file }: FileDescriptorSet): void {
  const [inventory] = file;
  if (inventory === undefined) throw new Error("the image is empty");
  inventory.dependency.push("inventory/query.proto");
  const method = inventory.service[0]?.method.find(({ name }) => name === "GetStock");
  if (method !== undefined) method.inputType = ".inventory.v1.Query";
  file.push(
    create(FileDescriptorProtoSchema, {
      name: "inventory/query.proto",
      package: "inventory.v1",
      syntax: "proto3",
      messageType: [{ name: "Query", field: [{ name: "query", number: 1, type: 9, label: 1, jsonName: "query" }] }],
    }),
  );
}

/** Reflection that answers with one file at a time, and knows the files of an image only. */
function addSparse(server: Server, image: string, seen: string[]): void {
  const { file } = fromBinary(FileDescriptorSetSchema, readFileSync(image));
  const fileAnswer = (name: string): Answer => {
    const found = file.find((candidate) => candidate.name === name);
    if (found === undefined) return { case: "errorResponse", value: { errorCode: status.NOT_FOUND } };
    const fileDescriptorProto = [toBinary(FileDescriptorProtoSchema, found)];
    return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
  };
  const answer = ({ messageRequest }: ServerReflectionRequest): Answer => {
    seen.push(String(messageRequest.value));
    switch (messageRequest.case) {
      case "listServices":
        return { case: "listServicesResponse", value: { service: [{ name: INVENTORY }] } };
      case "fileContainingSymbol":
        return fileAnswer(file[0]?.name ?? "");
      default:
        return fileAnswer(String(messageRequest.value));
    }
  };
  server.addService(serviceDefinition(ServerReflection), {
    ServerReflectionInfo: ((call: ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>) => {
      call.on("data", (request) =>
        call.write(create(ServerReflectionResponseSchema, { messageResponse: answer(request) })),
      );
      call.on("end", () => call.end());
    }) as never,
  });
}

type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>["messageResponse"]>;

interface Watched extends AsyncDisposable {
  readonly source: ToolSource;
  /** Resolves each time that the service has told of itself. */
  tools(): Promise<readonly Tool[]>;
  /** Resolves with the next problem. */
  problem(): Promise<string>;
  readonly problems: readonly string[];
}

/** A source without a descriptor image. */
function watch(address: string, settings: Record<string, unknown> = {}): Watched {
  const problems: string[] = [];
  const told = { tools: queue<readonly Tool[]>(), problems: queue<string>() };
  const source = createGrpcTools(grpcConfig(address, { ...settings, descriptors: undefined }), {
    onProblem: (error, message) => {
      problems.push(message);
      told.problems.put(`${message}: ${(error as Error).message}`);
    },
    onTools: (_, tools) => told.tools.put(tools),
  });
  return {
    source,
    problems,
    tools: () => told.tools.take(),
    problem: () => told.problems.take(),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

function queue<T>() {
  const there: T[] = [];
  const waiting: ((value: T) => void)[] = [];
  return {
    put(value: T) {
      const taker = waiting.shift();
      if (taker === undefined) there.push(value);
      else taker(value);
    },
    async take(): Promise<T> {
      return there.length > 0 ? (there.shift() as T) : new Promise((resolve) => waiting.push(resolve));
    },
  };
}

describe("the tools of a service that tells of itself", { concurrency: true, timeout: 60_000 }, () => {
  for (const version of ["v1", "v1alpha"] as const) {
    test(`are there as soon as it has told, by ${version}`, async () => {
      await using service = await startService(handlers, { more: only(version) });
      await using watched = watch(service.address);
      assert.deepEqual(watched.source.tools, []);
      await watched.tools();
      assert.deepEqual(
        watched.source.tools.map(({ name, sideEffect }) => [name, sideEffect]),
        [
          ["inventory_get_stock", "none"],
          ["inventory_list_warehouses", "none"],
          ["inventory_reserve_items", "unknown"],
          ["inventory_watch_stock", "none"],
        ],
      );
      const tool = toolOf(watched.source, "inventory_get_stock");
      assert.deepEqual(jsonOf(await tool.call('{"sku":"TENT-2P"}', contextOf())), stock);
      assert.deepEqual(watched.problems, []);
    });
  }

  test("come when the service comes, which is told once", async () => {
    const before = await startService({});
    await before[Symbol.asyncDispose]();
    await using watched = watch(before.address);
    assert.match(
      await watched.problem(),
      /^tools of the gRPC service inventory are missing: it is asked again: .*UNAVAILABLE/,
    );
    await using _service = await startService(handlers, { port: before.port, more: only("v1") });
    await watched.tools();
    assert.equal(watched.source.tools.length, 4);
    assert.equal(watched.problems.length, 1);
  });

  test("are there when the service tells of each file on its own", async () => {
    using image = changedImage(splitImage);
    const seen: string[] = [];
    await using service = await startService({}, { more: (server) => addSparse(server, image.path, seen) });
    await using watched = watch(service.address, { methods: [{ name: `${INVENTORY}/GetStock` }] });
    await watched.tools();
    const schema = JSON.parse(toolOf(watched.source, "inventory_get_stock").inputSchemaJson);
    assert.deepEqual(Object.keys(schema.properties), ["query"]);
    // What every registry has is asked for, too, but need not be there.
    const others = ["buf/validate/validate.proto", "google/protobuf/timestamp.proto"];
    assert.deepEqual(seen, ["", INVENTORY, ...others, "inventory/query.proto"]);
    assert.deepEqual(watched.problems, []);
  });

  test("are asked for again and again, and each reason is told once", async () => {
    let asked = 0;
    const third = Promise.withResolvers<void>();
    await using service = await startService(handlers, {
      more: (server) =>
        server.addService(serviceDefinition(ServerReflection), {
          ServerReflectionInfo: ((call: { emit(name: string, error: unknown): void }) => {
            if (++asked === 3) third.resolve();
            call.emit("error", { code: status.PERMISSION_DENIED, details: "not for you" });
          }) as never,
        }),
    });
    await using watched = watch(service.address);
    assert.match(await watched.problem(), /PERMISSION_DENIED: not for you/);
    await third.promise;
    assert.equal(watched.problems.length, 1);
  });

  test("are missing when the service has no reflection, which is told with what to do", async () => {
    await using service = await startService(handlers);
    await using watched = watch(service.address);
    assert.match(
      await watched.problem(),
      /the service has no server reflection: set descriptors to a descriptor image$/,
    );
    assert.deepEqual(watched.source.tools, []);
  });

  test("are those that can be, and what is wrong with others is told", async () => {
    await using service = await startService(handlers, { more: only("v1") });
    const methods = [`${INVENTORY}/GetStock`, `${INVENTORY}/GetStok`, "inventory.v1.Other/Get"];
    await using watched = watch(service.address, { methods: methods.map((name) => ({ name })) });
    assert.deepEqual(
      (await watched.tools()).map(({ name }) => name),
      ["inventory_get_stock"],
    );
    const problem = await watched.problem();
    assert.match(problem, /tools\.grpc\.0\.methods\.1\.name: .* has no method GetStok\. There is /);
    assert.match(
      problem,
      /tools\.grpc\.0\.methods\.2\.name: the service at .* has no service inventory\.v1\.Other\. There is/,
    );
  });

  test("are left alone when the service answers nonsense, or breaks off", async () => {
    const answers: Record<string, (call: never) => void> = {
      "ended the reflection": (call: { end(): void }) => call.end(),
      "cannot be decoded|premature|invalid": (call: {
        on(name: string, listener: () => void): void;
        write(answer: unknown): void;
      }) => call.on("data", () => call.write(Buffer.from([255, 255, 255]))),
      "asked too often": (call: { emit(name: string, error: unknown): void }) =>
        call.emit("error", { code: status.RESOURCE_EXHAUSTED, details: "asked too often" }),
    };
    for (const [problem, ServerReflectionInfo] of Object.entries(answers)) {
      const definition = serviceDefinition(ServerReflection);
      const method = definition.ServerReflectionInfo;
      if (method === undefined) throw new Error("there is no method");
      const raw = { ...method, responseSerialize: (value: unknown) => value as Buffer };
      await using service = await startService(handlers, {
        more: (server) =>
          server.addService({ ServerReflectionInfo: raw }, { ServerReflectionInfo: ServerReflectionInfo as never }),
      });
      await using watched = watch(service.address);
      assert.match(await watched.problem(), new RegExp(problem));
      assert.deepEqual(watched.source.tools, []);
    }
  });

  test("do not keep the process from ending while a service is asked that never answers", async () => {
    const asked = Promise.withResolvers<{ cancelled: Promise<void> }>();
    await using service = await startService(handlers, {
      more: (server) =>
        server.addService(serviceDefinition(ServerReflection), {
          ServerReflectionInfo: ((call: { on(name: string, listener: () => void): void }) => {
            asked.resolve({ cancelled: new Promise((resolve) => call.on("cancelled", resolve)) });
          }) as never,
        }),
    });
    const watched = watch(service.address);
    const { cancelled } = await asked.promise;
    await watched[Symbol.asyncDispose]();
    await cancelled;
    assert.deepEqual(watched.problems, []);
  });
});
