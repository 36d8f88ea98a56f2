import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { test } from "node:test";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { startService } from "../support/service.ts";

/** A proxy of HTTP, with and without CONNECT, that tells what it was asked for. */
async function startProxy() {
  const asked: string[] = [];
  const server = createServer((incoming, outgoing) => {
    asked.push(new URL(incoming.url ?? "").host);
    const { method, headers } = incoming;
    const forwarded = request(incoming.url ?? "", { method, headers }, (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers);
      response.pipe(outgoing);
    });
    incoming.pipe(forwarded);
  });
  server.on("connect", (incoming, socket) => {
    asked.push(incoming.url ?? "");
    const { hostname, port } = new URL(`http://${incoming.url}`);
    const tunnel = connect(Number(port), hostname, () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      socket.pipe(tunnel).pipe(socket);
    });
    for (const [end, other] of [
      [socket, tunnel],
      [tunnel, socket],
    ] as const) {
      end.on("error", () => other.destroy());
      end.on("close", () => other.destroy());
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    asked,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

const hello = { messages: [{ role: Role.USER, text: "hello" }] };

test("Claude is reached through the proxy that the environment names", async () => {
  await using proxy = await startProxy();
  await using service = await startService({
    config: { proxy: { httpProxy: proxy.url, httpsProxy: "", noProxy: "" } },
  });
  const events = [];
  for await (const { event } of service.chat.streamChat({ chat: hello })) events.push(event.case);
  assert.equal(events.at(-1), "messageStop");
  assert.deepEqual(proxy.asked, [new URL(service.simulator.url).host]);
});

test("a host that the environment exempts is reached directly", async () => {
  await using proxy = await startProxy();
  await using service = await startService({
    config: { proxy: { httpProxy: proxy.url, httpsProxy: "", noProxy: "127.0.0.1" } },
  });
  await service.chat.chat(hello);
  assert.deepEqual(proxy.asked, []);
});

test("a proxy that cannot be reached makes calls fail as UNAVAILABLE", async () => {
  const proxy = await startProxy();
  await proxy[Symbol.asyncDispose]();
  await using service = await startService({
    config: { proxy: { httpProxy: proxy.url, httpsProxy: "", noProxy: "" } },
  });
  await assert.rejects(service.chat.chat(hello), /^ConnectError: \[unavailable\] /);
});
