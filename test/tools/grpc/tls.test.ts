import assert from "node:assert/strict";
import { on, once } from "node:events";
import { copyFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { ServerCredentials } from "@grpc/grpc-js";
import { createGrpcTools, GrpcToolsError } from "../../../src/tools/grpc/grpc-tools.ts";
import { certificate, createTlsFolder } from "../../support/tls.ts";
import { contextOf, grpcConfig, openTools, startService, type TestService, toolError, toolOf } from "./service.ts";

const reserve = JSON.stringify({ orderId: "o-1", lines: [{ sku: "TENT-2P", warehouseId: "north", quantity: 2 }] });
const input = '{"sku":"TENT-2P"}';
const authority = certificate("authority").cert;

/** A service with a certificate for 127.0.0.1 and localhost. */
function startSecure(clients: Buffer | null = null): Promise<TestService> {
  const { cert, key } = certificate("server");
  const pair = [{ cert_chain: cert, private_key: key }];
  const credentials = ServerCredentials.createSsl(clients, pair, clients !== null);
  return startService({ GetStock: () => ({ sku: "TENT-2P" }), ReserveItems: () => ({}) }, { credentials });
}

interface Gate extends AsyncDisposable {
  readonly port: number;
  /** The next connection. */
  connection(): Promise<Socket>;
  /** Lets connections through to the service, those that wait first. */
  open(): void;
}

/** Lies before a service, and holds all connections until it is opened. */
async function startGate(port: number): Promise<Gate> {
  const opened = Promise.withResolvers<void>();
  const sockets: Socket[] = [];
  const server = createServer(async (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    await opened.promise;
    const target = connect(port, "127.0.0.1");
    target.on("error", () => {});
    socket.on("close", () => target.destroy());
    target.on("close", () => socket.destroy());
    socket.pipe(target).pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const connections = on(server, "connection");
  return {
    port: (server.address() as AddressInfo).port,
    connection: async () => {
      const { value } = await connections.next();
      return value?.[0] as Socket;
    },
    open: opened.resolve,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

const named = ({ port }: TestService) => `localhost:${port}`;

describe("TLS to a service", { concurrency: true, timeout: 60_000 }, () => {
  test("trusts the authorities of the file, and no others", async () => {
    await using service = await startSecure();
    using folder = createTlsFolder();
    const { clientCaFile: caFile } = folder.filesWithClients;
    await using trusting = openTools(named(service), { tls: { caFile } });
    await trusting.tool("inventory_get_stock").call(input, contextOf());
    for (const tls of [{}, { caFile, serverName: "inventory.example" }]) {
      await using other = openTools(named(service), { tls });
      const error = await toolError(other.tool("inventory_get_stock").call(input, contextOf()));
      assert.equal(error.message, "UNAVAILABLE: the service cannot be reached");
    }
    assert.equal(service.calls.length, 1);
  });

  test("can expect another name than that of the target", async () => {
    await using service = await startSecure();
    using folder = createTlsFolder();
    const tls = { caFile: folder.filesWithClients.clientCaFile, serverName: "localhost" };
    await using tools = openTools(service.address, { tls });
    await tools.tool("inventory_get_stock").call(input, contextOf());
  });

  test("shows the certificate of Parley, and that which comes in its place", async () => {
    await using service = await startSecure(authority);
    using folder = createTlsFolder();
    const { certFile, keyFile, clientCaFile: caFile } = folder.filesWithClients;
    folder.putCert("strange-client");
    folder.putKey("strange-client");
    const problems: unknown[] = [];
    const problem = Promise.withResolvers<string>();
    const config = grpcConfig(named(service), { tls: { caFile, certFile, keyFile } });
    await using source = createGrpcTools(config, {
      onProblem: (error, message) => {
        problems.push(error);
        problem.resolve(message);
      },
    });
    const tool = toolOf(source, "inventory_get_stock");
    assert.equal((await toolError(tool.call(input, contextOf()))).code, Code.Unavailable);

    folder.putCert("client");
    assert.equal(
      await problem.promise,
      "TLS files of the gRPC service inventory cannot be used: the old ones stay in use",
    );
    folder.putKey("client");
    for (;;) {
      const answer = await tool.call(input, contextOf()).catch((error: unknown) => error);
      if (!(answer instanceof Error)) break;
      assert.equal((answer as { code?: unknown }).code, Code.Unavailable);
    }
    assert.equal(problems.length, 1);
  });

  test("lets calls end that wait for a connection while files change, and then closes it", async () => {
    await using service = await startSecure();
    await using gate = await startGate(service.port);
    using folder = createTlsFolder();
    const caFile = join(folder.path, "authority.crt");
    copyFileSync(folder.filesWithClients.clientCaFile, caFile);
    await using tools = openTools(`localhost:${gate.port}`, { tls: { caFile } });
    const tool = tools.tool("inventory_get_stock");
    const call = tools.tool("inventory_reserve_items").call(reserve, contextOf());
    const first = await gate.connection();
    writeFileSync(caFile, Buffer.concat([authority, certificate("other-authority").cert]));
    // Calls of the old connection do not make another.
    const second = gate.connection();
    let isRenewed = false;
    void second.then(() => {
      isRenewed = true;
    });
    while (!isRenewed) await toolError(tool.call(input, contextOf({ timeoutMs: 50 })));
    const closed = once(first, "close");
    gate.open();
    await call;
    await closed;
  });

  test("leaves calls alone that are in progress while files change", async () => {
    const answer = Promise.withResolvers<unknown>();
    const { cert, key } = certificate("server");
    await using service = await startService(
      { GetStock: () => answer.promise, ListWarehouses: () => ({}) },
      { credentials: ServerCredentials.createSsl(null, [{ cert_chain: cert, private_key: key }]) },
    );
    using folder = createTlsFolder();
    const caFile = join(folder.path, "authority.crt");
    copyFileSync(folder.filesWithClients.clientCaFile, caFile);
    await using tools = openTools(named(service), { tls: { caFile } });
    const call = tools.tool("inventory_get_stock").call(input, contextOf());
    await service.nextCall();
    writeFileSync(caFile, Buffer.concat([authority, certificate("other-authority").cert]));
    const [first] = service.calls;
    do await tools.tool("inventory_list_warehouses").call("{}", contextOf());
    while (service.calls.at(-1)?.peer === first?.peer);
    answer.resolve({ sku: "TENT-2P" });
    await call;
    assert.deepEqual(tools.problems, []);
  });

  test("must have files that can be used, from the start", () => {
    using folder = createTlsFolder();
    const { certFile, keyFile } = folder.filesWithClients;
    folder.putKey("client");
    const config = grpcConfig("localhost:1", { tls: { certFile, keyFile } });
    assert.throws(
      () => createGrpcTools(config, { onProblem: () => {} }),
      (error) => {
        assert.ok(error instanceof GrpcToolsError);
        assert.match(error.problems[0] ?? "", /^tools\.grpc\.0: the service cannot be called: .*mismatch/);
        return true;
      },
    );
  });
});
