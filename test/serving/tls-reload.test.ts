import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type ConnectionOptions, connect } from "node:tls";
import { createClient } from "@connectrpc/connect";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { type Service, type ServiceOptions, startService, transports } from "../support/service.ts";
import { certificate, copyCertificate, createTlsFolder, trust } from "../support/tls.ts";

const READ_ANEW = "TLS files have been read anew";
const NOT_USABLE = "TLS files cannot be used: the old ones stay in use";
const hello = { messages: [{ role: Role.USER, text: "hello" }] };

type Tls = NonNullable<NonNullable<NonNullable<ServiceOptions["config"]>["server"]>["tls"]>;

/** A service whose certificate a connection has seen: its files are watched from then on. */
async function startSecure(tls: Tls, options: ServiceOptions = {}): Promise<Service> {
  const service = await startService({ ...options, config: { server: { tls } } });
  assert.equal(await nameOf(service), "server");
  return service;
}

/** The name in the certificate that a new connection is shown. */
async function nameOf(service: Service, options: ConnectionOptions = {}): Promise<unknown> {
  const socket = connect({ port: service.server.port, host: "127.0.0.1", ...trust, ...options });
  await once(socket, "secureConnect");
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return subject.CN;
}

const chatClient = (service: Service, options = {}) =>
  createClient(ChatService, transports(service.url, { ...trust, ...options })["gRPC over HTTP/2"] as never);

describe("TLS files that change", { concurrency: true, timeout: 120_000 }, () => {
  test("a certificate that is replaced is shown to new connections, and open streams go on", async () => {
    using folder = createTlsFolder();
    const step = { respond: { content: [{ text: "Hello, you there" }] }, gateAfter: { events: 5, gate: "replaced" } };
    await using service = await startSecure(folder.files, { script: { steps: [step] } });
    const stream = chatClient(service).streamChat({ chat: hello })[Symbol.asyncIterator]();
    await stream.next();

    const reloaded = service.line(({ msg }) => msg === READ_ANEW);
    folder.putCert("renewed-server");
    folder.putKey("renewed-server");
    await reloaded;
    assert.equal(await nameOf(service), "renewed server");

    service.simulator.open("replaced");
    let last: string | undefined;
    for (let next = await stream.next(); !next.done; next = await stream.next()) last = next.value.event.case;
    assert.equal(last, "messageStop");
  });

  test("a new certificate is not used before its key is there", async () => {
    using folder = createTlsFolder();
    await using service = await startSecure(folder.files);
    const refused = service.line(({ msg }) => msg === NOT_USABLE);
    folder.putCert("renewed-server");
    const { level, err } = await refused;
    assert.equal(level, "error");
    assert.equal((err as { code: string }).code, "ERR_OSSL_X509_KEY_VALUES_MISMATCH");
    assert.equal(await nameOf(service), "server");

    const reloaded = service.line(({ msg }) => msg === READ_ANEW);
    folder.putKey("renewed-server");
    await reloaded;
    assert.equal(await nameOf(service), "renewed server");
  });

  const unusable: Record<string, (files: { certFile: string }) => void> = {
    "half written": ({ certFile }) =>
      writeFileSync(
        certFile,
        certificate("renewed-server").cert.subarray(0, certificate("renewed-server").cert.length / 2),
      ),
    "taken away": ({ certFile }) => rmSync(certFile),
    empty: ({ certFile }) => writeFileSync(certFile, ""),
  };
  for (const [name, spoil] of Object.entries(unusable)) {
    test(`a certificate that is ${name} leaves the old one in use`, async () => {
      using folder = createTlsFolder();
      await using service = await startSecure(folder.files);
      const refused = service.line(({ msg }) => msg === NOT_USABLE);
      spoil(folder.files);
      await refused;
      assert.equal(await nameOf(service), "server");
      assert.equal((await chatClient(service).chat(hello)).content.length, 1);
    });
  }

  test("files that Kubernetes replaces, by turning a link, are read anew", async () => {
    using folder = createTlsFolder();
    const version = (number: number, name: "server" | "renewed-server") => {
      const path = join(folder.path, `..version_${number}`);
      mkdirSync(path);
      copyCertificate(name, join(path, "tls.crt"), join(path, "tls.key"));
      symlinkSync(`..version_${number}`, join(folder.path, "..data_tmp"));
      renameSync(join(folder.path, "..data_tmp"), join(folder.path, "..data"));
    };
    version(1, "server");
    for (const file of ["tls.crt", "tls.key"]) {
      rmSync(join(folder.path, file));
      symlinkSync(join("..data", file), join(folder.path, file));
    }
    await using service = await startSecure(folder.files);
    const reloaded = service.line(({ msg }) => msg === READ_ANEW);
    version(2, "renewed-server");
    rmSync(join(folder.path, "..version_1"), { recursive: true });
    await reloaded;
    assert.equal(await nameOf(service), "renewed server");
    assert.ok(!service.logs.some(({ msg }) => msg === NOT_USABLE));
  });

  test("authorities of clients that are replaced count for new connections", async () => {
    using folder = createTlsFolder();
    await using service = await startSecure(folder.filesWithClients);
    const [orders, stranger] = [certificate("client"), certificate("strange-client")];
    assert.equal((await chatClient(service, orders).chat(hello)).content.length, 1);
    await assert.rejects(chatClient(service, stranger).chat(hello));

    const reloaded = service.line(({ msg }) => msg === READ_ANEW);
    folder.putClientCa("other-authority");
    await reloaded;
    await assert.rejects(chatClient(service, orders).chat(hello));
    assert.equal((await chatClient(service, stranger).chat(hello)).content.length, 1);
  });

  test("what clients may speak is the same after the files have been read anew", async () => {
    using folder = createTlsFolder();
    await using service = await startSecure(folder.files);
    const reloaded = service.line(({ msg }) => msg === READ_ANEW);
    folder.putCert("renewed-server");
    folder.putKey("renewed-server");
    await reloaded;
    await assert.rejects(nameOf(service, { ALPNProtocols: ["spdy/3"] }));
    await assert.rejects(
      nameOf(service, { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }),
      { code: "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION" },
    );
  });
});
