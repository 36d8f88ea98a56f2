import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { Metadata, status } from "@grpc/grpc-js";
import { BadRequestSchema, LocalizedMessageSchema } from "../../../gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../../../gen/google/rpc/status_pb.js";
import { startHttp2 } from "./http2.ts";
import { contextOf, jsonOf, openTools, startService, statusError, toolError } from "./service.ts";

const stock = { sku: "TENT-2P", name: "Tent for two", levels: [{ warehouseId: "north", available: 4, reserved: 1 }] };
const reserve = JSON.stringify({ orderId: "o-1", lines: [{ sku: "TENT-2P", warehouseId: "north", quantity: 2 }] });
const never = () => new Promise<never>(() => {});

describe("a call of a method", { concurrency: true, timeout: 60_000 }, () => {
  test("sends the arguments as a message, and gives Claude the JSON of the answer", async () => {
    await using service = await startService({ GetStock: () => stock });
    await using tools = openTools(service.address);
    const result = await tools.tool("inventory_get_stock").call('{"sku":"TENT-2P"}', contextOf());
    assert.deepEqual(jsonOf(result), stock);
    assert.deepEqual(
      service.calls.map(({ method, request }) => ({ method, request })),
      [{ method: "GetStock", request: { sku: "TENT-2P" } }],
    );
  });

  const invalid: Record<string, readonly [tool: string, input: string, path: RegExp]> = {
    "a field that there is not": ["inventory_get_stock", '{"sku":"TENT-2P","colour":"red"}', /colour/],
    "a rule that is broken": ["inventory_get_stock", '{"sku":"tent"}', /^sku: /],
    "a rule that is broken deep inside": [
      "inventory_reserve_items",
      reserve.replace("2}", "0}"),
      /^lines\[0\]\.quantity: /,
    ],
    "a number that is none": ["inventory_reserve_items", reserve.replace("2}", '"two"}'), /lines\[0\]\.quantity/],
    "no JSON": ["inventory_get_stock", "{", /JSON/],
  };
  for (const [name, [tool, input, path]] of Object.entries(invalid)) {
    test(`with ${name} is refused, and the service sees nothing of it`, async () => {
      await using service = await startService({ GetStock: () => stock, ReserveItems: () => ({}) });
      await using tools = openTools(service.address);
      const error = await toolError(tools.tool(tool).call(input, contextOf()));
      assert.equal(error.code, Code.InvalidArgument);
      assert.match(error.message, path);
      assert.equal(service.calls.length, 0);
    });
  }

  test("carries trace, caller and run, the headers that are configured, and no others", async () => {
    await using service = await startService({ GetStock: () => stock });
    await using tools = openTools(service.address, { forwardHeaders: ["authorization", "tenant-bin", "x-absent"] });
    const headers = {
      authorization: "Bearer t0ken",
      "tenant-bin": `${Buffer.from([0, 1, 255]).toString("base64").replaceAll("=", "")}, ${btoa("two")}`,
      cookie: "secret=1",
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      tracestate: "vendor=1",
      "x-request-id": "r-17",
      "x-other": "not for others",
    };
    const context = contextOf({ headers, caller: "Bestellungen Süd, 100%" });
    await tools.tool("inventory_get_stock").call('{"sku":"TENT-2P"}', context);
    const { metadata } = await service.nextCall();
    const seen = metadata.getMap();
    const { "user-agent": agent, "accept-encoding": _, "content-type": __, te: ___, ...rest } = seen;
    assert.match(String(agent), /^parley /);
    assert.deepEqual(metadata.get("tenant-bin"), [Buffer.from([0, 1, 255]), Buffer.from("two")]);
    assert.deepEqual(
      { ...rest, "tenant-bin": undefined },
      {
        authorization: "Bearer t0ken",
        "tenant-bin": undefined,
        traceparent: headers.traceparent,
        tracestate: "vendor=1",
        "x-request-id": "r-17",
        "x-parley-caller": "Bestellungen%20S%C3%BCd,%20100%25",
        "x-parley-run-id": "run_1",
        "x-parley-tool-use-id": "toolu_1",
      },
    );
    assert.equal(decodeURIComponent(String(seen["x-parley-caller"])), "Bestellungen Süd, 100%");
  });

  test("is not made when a header cannot be passed on, but goes without trace headers that are none", async () => {
    await using service = await startService({ GetStock: () => stock });
    await using tools = openTools(service.address, { forwardHeaders: ["x-tenant"] });
    const tool = tools.tool("inventory_get_stock");
    const error = await toolError(tool.call('{"sku":"A"}', contextOf({ headers: { "x-tenant": "Süd" } })));
    assert.equal(error.code, Code.FailedPrecondition);
    assert.match(error.message, /x-tenant/);
    assert.doesNotMatch(error.message, /Süd/);
    assert.equal(service.calls.length, 0);
    await tool.call('{"sku":"A"}', contextOf({ headers: { traceparent: "süd" } }));
    assert.deepEqual((await service.nextCall()).metadata.get("traceparent"), []);
  });

  for (const [tool, input, most] of [
    ["inventory_reserve_items", reserve, 5_000],
    // What has come of a stream must be handed on in time.
    ["inventory_watch_stock", '{"sku":"TENT-2P"}', 4_750],
  ] as const) {
    test(`has a deadline that is before that of the run: ${tool}`, async () => {
      const timeout = Promise.withResolvers<string | string[] | undefined>();
      await using service = await startHttp2((stream, headers) => {
        timeout.resolve(headers["grpc-timeout"]);
        stream.respond(
          { ":status": 200, "content-type": "application/grpc+proto", "grpc-status": status.INTERNAL },
          { endStream: true },
        );
      });
      await using tools = openTools(service.address);
      await toolError(tools.tool(tool).call(input, contextOf({ timeoutMs: 5_000 })));
      const [, milliseconds] = /^(\d+)m$/.exec(String(await timeout.promise)) ?? [];
      assert.ok(Number(milliseconds) > 0 && Number(milliseconds) < most, `${milliseconds}`);
    });
  }

  test("that is aborted is cancelled at the service, and fails with the reason", async () => {
    await using service = await startService({ ReserveItems: never });
    await using tools = openTools(service.address);
    const controller = new AbortController();
    const call = tools.tool("inventory_reserve_items").call(reserve, contextOf({ signal: controller.signal }));
    const { cancelled } = await service.nextCall();
    const reason = new Error("the caller has gone");
    controller.abort(reason);
    await assert.rejects(call, reason);
    await cancelled;
  });

  test("that is aborted before it begins is not made", async () => {
    await using service = await startService({ GetStock: () => stock });
    await using tools = openTools(service.address);
    const reason = new Error("the caller has gone");
    const context = contextOf({ signal: AbortSignal.abort(reason) });
    await assert.rejects(tools.tool("inventory_get_stock").call('{"sku":"A"}', context), reason);
    assert.equal(service.calls.length, 0);
  });

  test("of a service that never answers ends with the time, at the service too", async () => {
    await using service = await startService({ GetStock: never, ReserveItems: never });
    await using tools = openTools(service.address);
    const context = contextOf({ timeoutMs: 3_000 });
    const [read, reserved] = await Promise.all([
      toolError(tools.tool("inventory_get_stock").call('{"sku":"A"}', context)),
      toolError(tools.tool("inventory_reserve_items").call(reserve, context)),
    ]);
    assert.equal(read.code, Code.DeadlineExceeded);
    assert.equal(read.message, "DEADLINE_EXCEEDED: the service did not answer in time");
    assert.match(reserved.message, /in time: the call may or may not have taken effect$/);
    await Promise.all(service.calls.map(({ cancelled }) => cancelled));
    assert.equal(service.calls.length, 2);
  });

  test("fails when its tools are closed", async () => {
    await using service = await startService({ ReserveItems: never });
    const tools = openTools(service.address);
    const call = toolError(tools.tool("inventory_reserve_items").call(reserve, contextOf()));
    const { cancelled } = await service.nextCall();
    await tools[Symbol.asyncDispose]();
    assert.equal((await call).code, Code.Unavailable);
    await cancelled;
  });

  test("can be one of very many at a time", async () => {
    const all = Promise.withResolvers<void>();
    let open = 0;
    await using service = await startService({
      GetStock: async ({ request }) => {
        if (++open === 400) all.resolve();
        await all.promise;
        return { sku: (request as { sku: string }).sku };
      },
    });
    await using tools = openTools(service.address);
    const tool = tools.tool("inventory_get_stock");
    const skus = Array.from({ length: 400 }, (_, index) => `ITEM-${index}`);
    const results = await Promise.all(skus.map((sku) => tool.call(JSON.stringify({ sku }), contextOf())));
    assert.deepEqual(
      results.map((result) => (jsonOf(result) as { sku: string }).sku),
      skus,
    );
  });
});

describe("an error of a service", { concurrency: true, timeout: 60_000 }, () => {
  for (const code of Object.values(status)) {
    if (typeof code === "string" || code === status.OK) continue;
    test(`with ${status[code]} has the same code for Claude`, async () => {
      await using service = await startService({
        ReserveItems: () => {
          throw statusError(code, "no such sku");
        },
      });
      await using tools = openTools(service.address);
      const error = await toolError(tools.tool("inventory_reserve_items").call(reserve, contextOf()));
      assert.equal(error.code as number, code);
      assert.ok(error.message.startsWith(`${status[code]}: no such sku`), error.message);
      assert.equal(service.calls.length, 1);
    });
  }

  test("has a code that gRPC does not know: it is UNKNOWN", async () => {
    await using service = await startService({
      ReserveItems: () => {
        throw statusError(42 as status, "odd");
      },
    });
    await using tools = openTools(service.address);
    const error = await toolError(tools.tool("inventory_reserve_items").call(reserve, contextOf()));
    assert.equal(error.code, Code.Unknown);
    assert.match(error.message, /^UNKNOWN: /);
  });

  test("tells Claude of its details, and withstands those that cannot be read", async () => {
    const help = [
      anyPack(LocalizedMessageSchema, create(LocalizedMessageSchema, { locale: "en", message: "Try fewer pieces." })),
      anyPack(
        BadRequestSchema,
        create(BadRequestSchema, {
          fieldViolations: [{ field: "lines[0].quantity", description: "must be at most 4" }],
        }),
      ),
      { $typeName: "google.protobuf.Any" as const, typeUrl: "x/google.rpc.BadRequest", value: new Uint8Array([255]) },
      {
        $typeName: "google.protobuf.Any" as const,
        typeUrl: "type.googleapis.com/other.v1.Thing",
        value: new Uint8Array(),
      },
    ];
    const details = Buffer.from(toBinary(StatusSchema, create(StatusSchema, { details: help })));
    const answers = [details, Buffer.from([255, 255])];
    await using service = await startService({
      ReserveItems: () => {
        const metadata = new Metadata();
        metadata.set("grpc-status-details-bin", answers.shift() ?? details);
        throw statusError(status.INVALID_ARGUMENT, "cannot be reserved", metadata);
      },
    });
    await using tools = openTools(service.address);
    const tool = tools.tool("inventory_reserve_items");
    assert.equal(
      (await toolError(tool.call(reserve, contextOf()))).message,
      "INVALID_ARGUMENT: cannot be reserved (Try fewer pieces.; lines[0].quantity: must be at most 4)",
    );
    assert.equal((await toolError(tool.call(reserve, contextOf()))).message, "INVALID_ARGUMENT: cannot be reserved");
  });
});

describe("an answer that is too large", { concurrency: true, timeout: 60_000 }, () => {
  const names: Record<string, unknown> = {
    "as protobuf": { sku: "A", name: "x".repeat(5_000) },
    "as JSON": { sku: "A", levels: Array.from({ length: 300 }, () => ({ available: 1 })) },
  };
  for (const [name, answer] of Object.entries(names)) {
    test(`${name} is an error that says how large it may be`, async () => {
      await using service = await startService({ GetStock: () => answer });
      await using tools = openTools(service.address, { responseBytes: "4KiB" });
      const error = await toolError(tools.tool("inventory_get_stock").call('{"sku":"A"}', contextOf()));
      assert.equal(error.code, Code.ResourceExhausted);
      assert.equal(
        error.message,
        "RESOURCE_EXHAUSTED: the answer is larger than 4096 bytes, the limit: ask for less at a time",
      );
      assert.equal(service.calls.length, 1);
    });
  }

  test("does not make Claude believe that a change was not made", async () => {
    const line = { sku: "A", warehouseId: "north", quantity: 1 };
    await using service = await startService({
      ReserveItems: () => ({ lines: Array.from({ length: 999 }, () => line) }),
    });
    await using tools = openTools(service.address, { responseBytes: "4KiB" });
    const error = await toolError(tools.tool("inventory_reserve_items").call(reserve, contextOf()));
    assert.match(error.message, /taken effect/);
  });
});
