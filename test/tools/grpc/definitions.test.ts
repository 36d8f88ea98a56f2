import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { create, setExtension } from "@bufbuild/protobuf";
import { MessageOptionsSchema } from "@bufbuild/protobuf/wkt";
import { MessageRulesSchema, message as messageRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { ConfigError, loadConfig } from "../../../src/config/config.ts";
import { toolsSchema } from "../../../src/config/tools-schema.ts";
import { GrpcToolsError, grpcToolSources } from "../../../src/tools/grpc/grpc-tools.ts";
import { changedImage, grpcConfig, INVENTORY, methodIn, openTools, toolOf } from "./service.ts";

const NOWHERE = "localhost:1";
const options = { onProblem: () => assert.fail("there is no problem") };

/** What is wrong with configured services. */
function problemsOf(...entries: Record<string, unknown>[]): readonly string[] {
  try {
    grpcToolSources(
      entries.map((entry) => grpcConfig(NOWHERE, entry)),
      options,
    );
  } catch (error) {
    if (error instanceof GrpcToolsError) return error.problems;
    throw error;
  }
  return [];
}

const methods = (...names: string[]) => ({ methods: names.map((name) => ({ name })) });

describe("the tools of a gRPC service", () => {
  test("are its methods as the configuration and the descriptors say", async () => {
    await using tools = openTools(NOWHERE, {
      timeout: "7s",
      concurrency: 3,
      methods: [
        { name: `${INVENTORY}/GetStock` },
        { name: `${INVENTORY}/ReserveItems`, tool: "reserve", approval: true, timeout: "2s", concurrency: 1 },
        { name: `${INVENTORY}/WatchStock`, description: "Look at the stock for a while." },
      ],
    });
    const known = tools.source.tools.map(({ inputSchemaJson: _, call: __, ...rest }) => rest);
    assert.deepEqual(known, [
      {
        name: "inventory_get_stock",
        description:
          "Tells how many pieces of an item are in stock, in all warehouses or in one. NOT_FOUND: there is no such item.\n" +
          `A method of ${INVENTORY}.`,
        sideEffect: "none",
        requiresApproval: false,
        timeoutMs: 7_000,
        maxConcurrency: 3,
        grpcMethod: `${INVENTORY}/GetStock`,
      },
      {
        name: "reserve",
        description:
          "Reserves items for an order: all of them, or none. FAILED_PRECONDITION: a warehouse has too few pieces.\n" +
          `A method of ${INVENTORY}.`,
        sideEffect: "unknown",
        requiresApproval: true,
        timeoutMs: 2_000,
        maxConcurrency: 1,
        grpcMethod: `${INVENTORY}/ReserveItems`,
      },
      {
        name: "inventory_watch_stock",
        description: "Look at the stock for a while.",
        sideEffect: "none",
        requiresApproval: false,
        timeoutMs: 7_000,
        maxConcurrency: 3,
        grpcMethod: `${INVENTORY}/WatchStock`,
      },
    ]);
    const schema = JSON.parse(tools.tool("inventory_get_stock").inputSchemaJson);
    assert.equal(schema.type, "object");
    assert.match(schema.properties.sku.description, /^The item/);
  });

  test("have descriptions without comments, too, and names in snake_case", async () => {
    using image = changedImage((set) => {
      for (const file of set.file) delete file.sourceCodeInfo;
      methodIn(set, "GetStock").name = "GetHTTPStockV2";
    });
    await using tools = openTools(NOWHERE, { descriptors: image.path, ...methods(`${INVENTORY}/GetHTTPStockV2`) });
    assert.equal(tools.tool("inventory_get_http_stock_v2").description, `Calls ${INVENTORY}/GetHTTPStockV2.`);
  });

  test("say that a stream becomes a list", async () => {
    await using tools = openTools(NOWHERE);
    assert.match(toolOf(tools.source, "inventory_watch_stock").description, /\nThe result is a list of the messages/);
  });

  test("are refused with all that is wrong, and what there is instead", () => {
    assert.deepEqual(
      problemsOf(
        methods(`${INVENTORY}/GetStok`, `${INVENTORY}/getstock`),
        { name: "other", ...methods("inventory.v1.InventorService/GetStock") },
        { name: "third", descriptors: "/nowhere/there.binpb", tls: { caFile: "/nowhere/ca.pem" } },
      ).map((problem) => problem.replace(/[^ ]*inventory\.binpb/, "inventory.binpb")),
      [
        `tools.grpc.0.methods.0.name: ${INVENTORY} has no method GetStok. There is ${INVENTORY}/GetStock, ${INVENTORY}/WatchStock, ${INVENTORY}/ReserveItems, ${INVENTORY}/ListWarehouses`,
        `tools.grpc.0.methods.1.name: ${INVENTORY} has no method getstock. There is ${INVENTORY}/GetStock, ${INVENTORY}/WatchStock, ${INVENTORY}/ReserveItems, ${INVENTORY}/ListWarehouses`,
        `tools.grpc.1.methods.0.name: inventory.binpb has no service inventory.v1.InventorService. There is ${INVENTORY}`,
        "tools.grpc.2: the service cannot be called: ENOENT: no such file or directory, open '/nowhere/ca.pem'",
        "tools.grpc.2.descriptors: /nowhere/there.binpb cannot be read (ENOENT)",
      ],
    );
  });

  test("cannot be methods to which the client streams", () => {
    using image = changedImage((set) => {
      methodIn(set, "GetStock").clientStreaming = true;
      methodIn(set, "WatchStock").clientStreaming = true;
    });
    const found = problemsOf({
      descriptors: image.path,
      ...methods(`${INVENTORY}/GetStock`, `${INVENTORY}/WatchStock`),
    });
    assert.match(found[0] ?? "", /^tools\.grpc\.0\.methods\.0\.name: .*GetStock is client-streaming, but only unary/);
    assert.match(found[1] ?? "", /^tools\.grpc\.0\.methods\.1\.name: .*WatchStock is bidirectional, but only unary/);
    assert.match(found[1] ?? "", /There is inventory.*ListWarehouses/);
  });

  test("cannot be methods whose arguments are no object", () => {
    using image = changedImage((set) => {
      const [file] = set.file;
      file?.dependency.push("google/protobuf/wrappers.proto");
      methodIn(set, "GetStock").inputType = ".google.protobuf.StringValue";
    });
    const [problem] = problemsOf({ descriptors: image.path, ...methods(`${INVENTORY}/GetStock`) });
    assert.match(problem ?? "", /methods\.0\.name: google\.protobuf\.StringValue cannot be the arguments of a tool: /);
  });

  test("cannot be methods whose rules cannot be evaluated", () => {
    using image = changedImage((set) => {
      const message = set.file[0]?.messageType.find(({ name }) => name === "GetStockRequest");
      if (message === undefined) throw new Error("there is no such message");
      message.options = create(MessageOptionsSchema);
      setExtension(
        message.options,
        messageRules,
        create(MessageRulesSchema, { cel: [{ id: "odd", expression: "1 +" }] }),
      );
    });
    const [problem] = problemsOf({ descriptors: image.path, ...methods(`${INVENTORY}/GetStock`) });
    assert.match(problem ?? "", /methods\.0\.name: the rules of inventory\.v1\.GetStockRequest cannot be evaluated: /);
  });

  test("cannot have an image that is none", () => {
    using image = changedImage(() => {});
    writeFileSync(image.path, "no image");
    const [problem] = problemsOf({ descriptors: image.path });
    assert.match(problem ?? "", /^tools\.grpc\.0\.descriptors: .*changed\.binpb: .*buf build/);
  });

  test("must have names of their own, over all services", () => {
    const get = `${INVENTORY}/GetStock`;
    assert.deepEqual(
      problemsOf(
        {
          methods: [{ name: get }, { name: get, tool: "other_get_stock" }, { name: get, tool: "inventory_get_stock" }],
        },
        { name: "other", descriptors: undefined, ...methods(get) },
      ),
      [
        "tools.grpc.0.methods.2: its tool has the name inventory_get_stock, as that of tools.grpc.0.methods.0 has: set tool to another one",
        "tools.grpc.1.methods.0: its tool has the name other_get_stock, as that of tools.grpc.0.methods.1 has: set tool to another one",
      ],
    );
  });

  test("must have names that Claude takes", () => {
    using image = changedImage((set) => {
      methodIn(set, "GetStock").name = `Get${"Very".repeat(40)}`;
    });
    const found = problemsOf({ descriptors: image.path, ...methods(`${INVENTORY}/Get${"Very".repeat(40)}`) });
    assert.deepEqual(found, [
      "tools.grpc.0.methods.0: the name of its tool would have more than 128 characters: set tool",
    ]);
  });
});

describe("the configuration of a gRPC service", () => {
  const entry = { name: "inventory", target: NOWHERE, methods: [{ name: `${INVENTORY}/GetStock` }] };
  const refused: Record<string, readonly [settings: Record<string, unknown>, problem: RegExp]> = {
    "a URL as its target": [{ target: "http://inventory:8080" }, /must be a target such as dns:\/\/\/inventory:8080/],
    "a header that each call has for itself": [{ forwardHeaders: ["connection"] }, /cannot be connection/],
    "a header of gRPC": [{ forwardHeaders: ["grpc-timeout"] }, /cannot be grpc-timeout/],
    "a header that says who calls": [{ forwardHeaders: ["x-parley-caller"] }, /cannot be x-parley-caller/],
    "TLS to an address": [{ target: "10.0.0.1:443", tls: {} }, /must have tls\.serverName/],
    "TLS to an address of IPv6": [{ target: "dns:///[::1]:443", tls: {} }, /must have tls\.serverName/],
    "an address as the name of a TLS server": [{ tls: { serverName: "10.0.0.1" } }, /must be a name, not an address/],
    "a certificate without its key": [{ tls: { certFile: "tls.crt" } }, /both certFile and keyFile/],
  };
  for (const [name, [settings, problem]] of Object.entries(refused)) {
    test(`cannot have ${name}`, () => {
      const result = toolsSchema.safeParse({ grpc: [{ ...entry, ...settings }] });
      assert.match(result.error?.issues[0]?.message ?? "", problem);
    });
  }

  for (const target of [
    "inventory:8080",
    "dns:///inventory:8080",
    "dns:inventory",
    "unix:/run/x.sock",
    "ipv4:10.0.0.1:80",
  ]) {
    test(`can have the target ${target}`, () => {
      assert.ok(toolsSchema.safeParse({ grpc: [{ ...entry, target }] }).success);
    });
  }

  test("names files that can be read", () => {
    using image = changedImage(() => {});
    const tls = { caFile: "/nowhere/ca.pem", certFile: image.path, keyFile: "/nowhere/tls.key" };
    const services = [
      { ...entry, descriptors: image.path },
      { ...entry, name: "other", descriptors: "/nowhere/image.binpb", tls },
    ];
    const file = `${image.path}.yaml`;
    writeFileSync(file, JSON.stringify({ tools: { grpc: services } }));
    assert.throws(
      () => loadConfig({ ANTHROPIC_API_KEY: "sk-test", PARLEY_CONFIG: file }),
      (error) => {
        assert.ok(error instanceof ConfigError);
        assert.deepEqual(error.problems, [
          "tools.grpc.1.descriptors: /nowhere/image.binpb cannot be read (ENOENT)",
          "tools.grpc.1.tls.caFile: /nowhere/ca.pem cannot be read (ENOENT)",
          "tools.grpc.1.tls.keyFile: /nowhere/tls.key cannot be read (ENOENT)",
        ]);
        return true;
      },
    );
  });
});
