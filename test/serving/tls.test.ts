import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { Agent as HttpsAgent } from "node:https";
import { after, before, describe, test } from "node:test";
import { type ConnectionOptions, connect, type SecureContextOptions, type TLSSocket } from "node:tls";
import { create } from "@bufbuild/protobuf";
import { type Client, Code, createClient } from "@connectrpc/connect";
import { Agent, request } from "undici";
import { ChatRequestSchema, ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { callWithGrpcJs } from "../support/grpc-js.ts";
import { type Service, startService, transports } from "../support/service.ts";
import { certificate, createTlsFolder, type TlsFolder, trust } from "../support/tls.ts";
import { HTTP2_PREFACE, http2Frame, openHttp2, sendHttp2, sendRaw } from "../support/wire.ts";

const hello = { messages: [{ role: Role.USER, text: "hello" }] };
const streamed = JSON.stringify({ chat: { messages: [{ role: "ROLE_USER", text: "hello" }] } });

/** Connects, and resolves when the handshake is done. */
async function handshake(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ port, host: "127.0.0.1", ...trust, ...options });
  await once(socket, "secureConnect");
  return socket;
}

/** What comes back for a request over HTTP/1.1 on a connection that is ready. */
async function sendOn(socket: TLSSocket, text: string): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = once(socket, "close");
  socket.write(text);
  await closed;
  return Buffer.concat(chunks).toString("latin1");
}

/** A client with a connection of its own. */
function chatClient(service: Service, options: SecureContextOptions = {}, transport = "gRPC over HTTP/2") {
  const agent = new HttpsAgent({ keepAlive: false, maxCachedSessions: 0 });
  const nodeOptions = { ...trust, ...options, ...(transport.includes("HTTP/1.1") && { agent }) };
  return createClient(ChatService, transports(service.url, nodeOptions)[transport] as never);
}

/** Who the service says has called. */
async function callerOf(service: Service, client: Client<typeof ChatService>): Promise<unknown> {
  const id = randomUUID();
  await client.chat(hello, { headers: { "x-request-id": id } });
  return (await service.line(({ call }) => call === id)).caller;
}

const PLAIN_REQUEST = "GET /made.up HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

describe("TLS", { timeout: 120_000 }, () => {
  let folder: TlsFolder;
  let service: Service;
  before(async () => {
    folder = createTlsFolder();
    service = await startService({ config: { server: { tls: folder.files } } });
  });
  after(async () => {
    await service[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  for (const name of Object.keys(transports("https://localhost"))) {
    test(`carries ${name}`, async () => {
      const client = chatClient(service, {}, name);
      assert.equal((await client.chat(hello)).content.length, 1);
      let last: string | undefined;
      for await (const { event } of client.streamChat({ chat: hello })) last = event.case;
      assert.equal(last, "messageStop");
    });
  }

  test("carries Server-Sent Events over HTTP/1.1 and HTTP/2", async () => {
    const headers = { "content-type": "application/json", accept: "text/event-stream" };
    const path = "/parley.v1.ChatService/StreamChat";
    const dispatcher = new Agent({ connect: trust, allowH2: false });
    const { body } = await request(`${service.url}${path}`, { method: "POST", headers, body: streamed, dispatcher });
    assert.match(await body.text(), /^data: \{[\s\S]*"messageStop"/);
    await dispatcher.close();
    const session = openHttp2(service.url, trust);
    const reply = await sendHttp2(session, { ":method": "POST", ":path": path, ...headers }, streamed);
    assert.match(reply.body.toString(), /^data: \{[\s\S]*"messageStop"/);
    session.close();
  });

  for (const [offers, chosen] of [
    [["h2", "http/1.1"], "h2"],
    [["http/1.1", "h2"], "h2"],
    [["h2"], "h2"],
    [["http/1.1"], "http/1.1"],
  ] as const) {
    test(`speaks ${chosen} with a client that offers ${offers.join(" and ")}`, async () => {
      const socket = await handshake(service.server.port, { ALPNProtocols: [...offers] });
      assert.equal(socket.alpnProtocol, chosen);
      if (chosen === "http/1.1") assert.match(await sendOn(socket, PLAIN_REQUEST), /^HTTP\/1\.1 404 /);
      else socket.destroy();
    });
  }

  test("speaks HTTP/1.1 with a client that offers nothing", async () => {
    const socket = await handshake(service.server.port, {});
    assert.match(await sendOn(socket, PLAIN_REQUEST), /^HTTP\/1\.1 404 /);
  });

  test("is refused to a client that offers other protocols only", async () => {
    await assert.rejects(handshake(service.server.port, { ALPNProtocols: ["spdy/3"] }), {
      code: "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
    });
  });

  test("is refused to a client that speaks TLS 1.1 at best", async () => {
    const old: ConnectionOptions = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" };
    await assert.rejects(handshake(service.server.port, old), { code: "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION" });
  });

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    test(`may be ${version}`, async () => {
      const socket = await handshake(service.server.port, { minVersion: version, maxVersion: version });
      assert.equal(socket.getProtocol(), version);
      socket.destroy();
    });
  }

  const plaintext: Record<string, string | Buffer> = {
    "HTTP/1.1": PLAIN_REQUEST,
    "HTTP/2": Buffer.concat([Buffer.from(HTTP2_PREFACE), http2Frame(4, 0, 0)]),
    "no protocol at all": Buffer.alloc(64 * 1_024, 0xff),
  };
  for (const [name, bytes] of Object.entries(plaintext)) {
    test(`does not answer ${name} without it, and closes the connection`, async () => {
      const reply = (await sendRaw(service.server.port, bytes)).toString("latin1");
      assert.doesNotMatch(reply, /HTTP/);
      assert.equal((await chatClient(service).chat(hello)).content.length, 1);
    });
  }

  test("is what callers miss that do not use it", async () => {
    const address = `127.0.0.1:${service.server.port}`;
    const { error } = await callWithGrpcJs(address, ChatService.method.chat, create(ChatRequestSchema, hello));
    assert.equal(error?.code, Code.Unavailable);
  });

  test("leaves callers anonymous, even those with a certificate", async () => {
    assert.equal(await callerOf(service, chatClient(service, certificate("client"))), "anonymous");
  });
});

test("TLS spoken to a service without it is answered with the end of the connection", async () => {
  await using service = await startService();
  await assert.rejects(handshake(service.server.port, {}), /wrong version number|ECONNRESET|disconnected/);
  assert.equal((await service.chat.chat(hello)).content.length, 1);
});

describe("TLS with client certificates", { timeout: 120_000 }, () => {
  let folder: TlsFolder;
  let service: Service;
  before(async () => {
    folder = createTlsFolder();
    service = await startService({ config: { server: { tls: folder.filesWithClients } } });
  });
  after(async () => {
    await service[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  for (const name of Object.keys(transports("https://localhost"))) {
    test(`tells who calls by ${name}`, async () => {
      assert.equal(await callerOf(service, chatClient(service, certificate("client"), name)), "orders");
    });
  }

  const refused: Record<string, SecureContextOptions> = {
    "without a certificate": {},
    "with a certificate of another authority": certificate("strange-client"),
    "with a certificate that is not for clients": certificate("renewed-server"),
  };
  for (const [name, options] of Object.entries(refused)) {
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      test(`refuses a caller ${name}, by ${version}`, async () => {
        const requests = service.simulator.requests.length;
        const protocol = { minVersion: version, maxVersion: version };
        for (const transport of ["gRPC over HTTP/2", "Connect over HTTP/1.1"]) {
          const client = chatClient(service, { ...options, ...protocol }, transport);
          await assert.rejects(client.chat(hello, { headers: { "x-request-id": "refused" } }));
        }
        await callerOf(service, chatClient(service, certificate("client")));
        assert.equal(service.simulator.requests.length, requests + 1);
        assert.ok(!service.logs.some(({ call }) => call === "refused"));
      });
    }
  }

  test("knows the caller of a connection that resumes an earlier session", async () => {
    const { port } = service.server;
    const request = `GET /made.up HTTP/1.1\r\nhost: localhost\r\nx-request-id: resumed\r\nconnection: close\r\n\r\n`;
    const first = await handshake(port, certificate("client"));
    const ticket = once(first, "session");
    const closed = sendOn(first, PLAIN_REQUEST);
    const [session] = await ticket;
    await closed;
    const second = await handshake(port, { ...certificate("client"), session });
    assert.ok(second.isSessionReused());
    await sendOn(second, request);
    assert.equal((await service.line(({ call }) => call === "resumed")).caller, "orders");
  });
});
