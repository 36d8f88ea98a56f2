import assert from "node:assert/strict";
import { constants, type ServerHttp2Stream } from "node:http2";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel, MethodOptionsSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { Metadata, status } from "@grpc/grpc-js";
import { startHttp2 } from "./http2.ts";
import {
  changedImage,
  contextOf,
  jsonOf,
  methodIn,
  openTools,
  startService,
  statusError,
  toolError,
} from "./service.ts";

const reserve = JSON.stringify({ orderId: "o-1", lines: [{ sku: "TENT-2P", warehouseId: "north", quantity: 2 }] });
const stock = { sku: "TENT-2P", name: "Tent for two", levels: [{ warehouseId: "north", available: 4, reserved: 1 }] };

/** Answers UNAVAILABLE so many times. */
function failing(times: number, answer: unknown, metadata?: Metadata) {
  let left = times;
  return () => {
    if (left-- > 0) throw statusError(status.UNAVAILABLE, "going down", metadata);
    return answer;
  };
}

describe("a call that fails because the service is not available", { concurrency: true, timeout: 60_000 }, () => {
  test("is made again where the method has no side effects", async () => {
    await using service = await startService({ GetStock: failing(2, stock) });
    await using tools = openTools(service.address);
    const result = await tools.tool("inventory_get_stock").call('{"sku":"TENT-2P"}', contextOf());
    assert.deepEqual(jsonOf(result), stock);
    assert.equal(service.calls.length, 3);
  });

  test("is made again where the method is idempotent", async () => {
    using image = changedImage((image) => {
      methodIn(image, "ReserveItems").options = create(MethodOptionsSchema, {
        idempotencyLevel: MethodOptions_IdempotencyLevel.IDEMPOTENT,
      });
    });
    await using service = await startService({ ReserveItems: failing(1, {}) }, { service: image.service });
    await using tools = openTools(service.address, { descriptors: image.path });
    const tool = tools.tool("inventory_reserve_items");
    assert.equal(tool.sideEffect, "idempotent");
    await tool.call(reserve, contextOf());
    assert.equal(service.calls.length, 2);
  });

  test("is made once where the method may change something", async () => {
    await using service = await startService({ ReserveItems: failing(1, {}) });
    await using tools = openTools(service.address);
    const error = await toolError(tools.tool("inventory_reserve_items").call(reserve, contextOf()));
    assert.equal(error.code, Code.Unavailable);
    assert.equal(service.calls.length, 1);
  });

  test("is made three times at the most", async () => {
    await using service = await startService({ GetStock: failing(9, stock) });
    await using tools = openTools(service.address);
    const error = await toolError(tools.tool("inventory_get_stock").call('{"sku":"A"}', contextOf()));
    assert.equal(error.message, "UNAVAILABLE: going down");
    assert.equal(service.calls.length, 3);
  });

  for (const code of [status.INTERNAL, status.RESOURCE_EXHAUSTED, status.ABORTED, status.DEADLINE_EXCEEDED]) {
    test(`is not made again after ${status[code]}`, async () => {
      await using service = await startService({
        GetStock: () => {
          throw statusError(code, "no");
        },
      });
      await using tools = openTools(service.address);
      assert.equal((await toolError(tools.tool("inventory_get_stock").call('{"sku":"A"}', contextOf()))).code, code);
      assert.equal(service.calls.length, 1);
    });
  }

  test("is not made again where the service forbids it", async () => {
    const metadata = new Metadata();
    metadata.set("grpc-retry-pushback-ms", "-1");
    await using service = await startService({ GetStock: failing(9, stock, metadata) });
    await using tools = openTools(service.address);
    await toolError(tools.tool("inventory_get_stock").call('{"sku":"A"}', contextOf()));
    assert.equal(service.calls.length, 1);
  });

  test("is not made again where the service wants more time than there is", async () => {
    const metadata = new Metadata();
    metadata.set("grpc-retry-pushback-ms", "60000");
    await using service = await startService({ GetStock: failing(9, stock, metadata) });
    await using tools = openTools(service.address);
    const error = await toolError(tools.tool("inventory_get_stock").call('{"sku":"A"}', contextOf()));
    assert.equal(error.code, Code.Unavailable);
    assert.equal(service.calls.length, 1);
  });

  test("does not wait for the next time when it is aborted", async () => {
    const metadata = new Metadata();
    metadata.set("grpc-retry-pushback-ms", "15000");
    await using service = await startService({ GetStock: failing(9, stock, metadata) });
    await using tools = openTools(service.address);
    const controller = new AbortController();
    const call = tools.tool("inventory_get_stock").call('{"sku":"A"}', contextOf({ signal: controller.signal }));
    await service.nextCall();
    // Not before the answer is there: then the call waits.
    setImmediate(() => setImmediate(() => controller.abort(new Error("the caller has gone"))));
    await assert.rejects(call, /the caller has gone/);
    assert.equal(service.calls.length, 1);
  });

  test("may be one of a stream, if no message had come", async () => {
    let calls = 0;
    await using service = await startService({
      async *WatchStock() {
        if (++calls === 1) throw statusError(status.UNAVAILABLE, "going down");
        yield { levels: [{ warehouseId: "north" }] };
        if (calls === 2) throw statusError(status.UNAVAILABLE, "going down again");
      },
    });
    await using tools = openTools(service.address);
    const error = await toolError(tools.tool("inventory_watch_stock").call('{"sku":"A"}', contextOf()));
    assert.equal(error.message, "UNAVAILABLE: going down again (after 1 message)");
    assert.equal(calls, 2);
  });
});

describe("a call that may change something", { concurrency: true, timeout: 60_000 }, () => {
  const ends: Record<string, (stream: ServerHttp2Stream) => void> = {
    "cancels the stream": (stream) => stream.close(constants.NGHTTP2_CANCEL),
    "resets the stream": (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
    "closes the connection": (stream) => stream.session?.destroy(),
    "closes the connection after a header": (stream) => {
      stream.respond({ ":status": 200, "content-type": "application/grpc+proto" });
      setImmediate(() => stream.session?.destroy());
    },
    "sends GOAWAY, and closes the connection": (stream) => {
      stream.session?.goaway(constants.NGHTTP2_NO_ERROR);
      setImmediate(() => stream.session?.destroy());
    },
    "answers 503": (stream) => stream.respond({ ":status": 503 }, { endStream: true }),
  };
  for (const [name, end] of Object.entries(ends)) {
    test(`is sent once when the server ${name} after it has the request`, async () => {
      let requests = 0;
      await using service = await startHttp2((stream) => {
        stream.resume().on("end", () => {
          requests++;
          end(stream);
        });
      });
      await using tools = openTools(service.address);
      const tool = tools.tool("inventory_reserve_items");
      const error = await toolError(tool.call(reserve, contextOf({ timeoutMs: 3_000 })));
      assert.notEqual(error.code, Code.DeadlineExceeded);
      assert.equal(requests, 1);
      assert.doesNotMatch(error.message, /127\.0\.0\.1/);
    });
  }

  test("is sent again only when the server has refused the stream unread", async () => {
    let streams = 0;
    await using service = await startHttp2((stream) => {
      if (++streams === 1) return stream.close(constants.NGHTTP2_REFUSED_STREAM);
      stream.respond(
        { ":status": 200, "content-type": "application/grpc+proto", "grpc-status": 9, "grpc-message": "sold%20out" },
        { endStream: true },
      );
    });
    await using tools = openTools(service.address);
    const error = await toolError(tools.tool("inventory_reserve_items").call(reserve, contextOf()));
    assert.equal(error.message, "FAILED_PRECONDITION: sold out");
    assert.equal(streams, 2);
  });
});
