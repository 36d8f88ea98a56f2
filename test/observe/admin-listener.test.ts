import assert from "node:assert/strict";
import { connect } from "node:net";
import { Readable } from "node:stream";
import { test } from "node:test";
import { listenAdmin } from "../../src/listen/admin-listener.ts";

test("a caller who takes nothing of a long answer is hung up on", { timeout: 30_000 }, async () => {
  const body = new Readable({ read: () => body.push(Buffer.alloc(65_536)) });
  let signal: AbortSignal | undefined;
  await using admin = await listenAdmin({
    host: "127.0.0.1",
    port: 0,
    isReady: () => true,
    metrics: async () => "",
    endpoints: {
      "/long": (request) => {
        signal = request.signal;
        return { status: 200, body };
      },
    },
    stallTimeoutMs: 100,
  });
  const socket = connect(admin.port, "127.0.0.1");
  socket.on("error", () => {});
  const closed = new Promise((resolve) => body.once("close", resolve));
  // It is never read from.
  socket.write("GET /long HTTP/1.1\r\nhost: a\r\n\r\n");
  await closed;
  assert.ok(signal?.aborted);
  socket.destroy();
});
