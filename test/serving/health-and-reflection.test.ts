import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/grpc/health/v1/health_pb.js";
import * as v1 from "../../gen/grpc/reflection/v1/reflection_pb.js";
import * as v1alpha from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { failureOf } from "../support/details.ts";
import { type Service, startService } from "../support/service.ts";

let service: Service;
before(async () => {
  service = await startService();
});
after(() => service[Symbol.asyncDispose]());

describe("health", () => {
  test("is told of the whole and of each service", async () => {
    const health = service.client(Health);
    for (const name of [
      "",
      "liveness",
      "parley.v1.AgentService",
      "parley.v1.ChatService",
      "parley.v1.ModelService",
      "parley.v1.ToolService",
    ]) {
      assert.equal((await health.check({ service: name })).status, Status.SERVING);
    }
    const { statuses } = await health.list({});
    assert.deepEqual(Object.keys(statuses).sort(), [
      "",
      "liveness",
      "parley.v1.AgentService",
      "parley.v1.ChatService",
      "parley.v1.ModelService",
      "parley.v1.ToolService",
    ]);
  });

  test("of a service that there is none of is NOT_FOUND", async () => {
    const told = await failureOf(service.client(Health).check({ service: "made.up" }));
    assert.equal(told.code, "NotFound");
    assert.equal(told.errorInfo?.reason, "NOT_FOUND");
    assert.equal(told.resourceInfo?.resourceName, "made.up");
  });

  test("can be watched, and turns to NOT_SERVING before the service goes", async () => {
    await using going = await startService({ config: { server: { lameDuck: 200 } } });
    const watch = going.client(Health).watch({})[Symbol.asyncIterator]();
    assert.equal((await watch.next()).value?.status, Status.SERVING);
    assert.equal((await fetch(`${going.adminUrl}/readyz`)).status, 200);
    const gone = going.server.shutDown();
    assert.equal((await watch.next()).value?.status, Status.NOT_SERVING);
    assert.equal((await fetch(`${going.adminUrl}/readyz`)).status, 503);
    assert.equal((await fetch(`${going.adminUrl}/livez`)).status, 200);
    assert.ok((await watch.next()).done, "a watch must not hold the service up");
    await gone;
  });

  test("of an unknown service can be watched, too", async () => {
    const controller = new AbortController();
    const watch = service.client(Health).watch({ service: "made.up" }, { signal: controller.signal });
    const first = await watch[Symbol.asyncIterator]().next();
    assert.equal(first.value?.status, Status.SERVICE_UNKNOWN);
    controller.abort();
    assert.equal((await service.nextCall()).method !== undefined, true);
  });
});

describe("reflection", () => {
  async function* ask<T>(...questions: T[]) {
    yield* questions;
  }

  for (const [version, { ServerReflection }] of Object.entries({ v1, v1alpha: v1alpha as unknown as typeof v1 })) {
    test(`${version} lists the services, and finds files by name, by symbol and by extension`, async () => {
      const client = createClient(ServerReflection, createGrpcTransport({ baseUrl: service.url }));
      const questions = ask(
        { messageRequest: { case: "listServices" as const, value: "" } },
        { messageRequest: { case: "fileByFilename" as const, value: "parley/v1/chat_service.proto" } },
        { messageRequest: { case: "fileContainingSymbol" as const, value: "parley.v1.ChatService.StreamChat" } },
        { messageRequest: { case: "fileContainingSymbol" as const, value: "google.rpc.ErrorInfo" } },
        {
          messageRequest: {
            case: "fileContainingExtension" as const,
            value: { containingType: "google.protobuf.FieldOptions", extensionNumber: 1159 },
          },
        },
        { messageRequest: { case: "allExtensionNumbersOfType" as const, value: "google.protobuf.FieldOptions" } },
        { messageRequest: { case: "fileContainingSymbol" as const, value: "made.Up" } },
        {},
      );
      const answers = [];
      for await (const { messageResponse } of client.serverReflectionInfo(questions)) answers.push(messageResponse);
      const [list, byName, bySymbol, ofDetails, byExtension, numbers, unknown, nothing] = answers;
      assert.ok(list?.case === "listServicesResponse");
      assert.deepEqual(
        list.value.service.map(({ name }) => name),
        [
          "parley.v1.ChatService",
          "parley.v1.AgentService",
          "parley.v1.ModelService",
          "parley.v1.ToolService",
          "grpc.health.v1.Health",
          "grpc.reflection.v1.ServerReflection",
          "grpc.reflection.v1alpha.ServerReflection",
        ],
      );
      for (const answer of [byName, bySymbol, ofDetails, byExtension]) {
        assert.ok(answer?.case === "fileDescriptorResponse");
        assert.ok(answer.value.fileDescriptorProto.length > 0);
      }
      assert.ok(numbers?.case === "allExtensionNumbersResponse" && numbers.value.extensionNumber.includes(1159));
      assert.ok(unknown?.case === "errorResponse" && unknown.value.errorCode === 5);
      assert.ok(nothing?.case === "errorResponse" && nothing.value.errorCode === 3);
    });
  }

  test("is recorded with its outcome, quietly, whatever the protocol", async () => {
    await using other = await startService();
    for (const transport of [
      createGrpcTransport({ baseUrl: other.url }),
      createConnectTransport({ baseUrl: other.url, httpVersion: "2" }),
    ]) {
      const client = createClient(v1.ServerReflection, transport);
      const questions = ask({ messageRequest: { case: "listServices" as const, value: "" } });
      for await (const _ of client.serverReflectionInfo(questions));
      const { code, level } = await other.nextCall();
      assert.deepEqual({ code, level }, { code: "OK", level: "debug" });
    }
  });

  for (const [name, args, path] of [
    ["Chat over gRPC", ["--http2-prior-knowledge", "--protocol", "grpc"], "Chat"],
    ["StreamChat over gRPC", ["--http2-prior-knowledge", "--protocol", "grpc"], "StreamChat"],
    ["Chat over Connect", ["--http2-prior-knowledge", "--protocol", "connect"], "Chat"],
    ["StreamChat over gRPC-Web", ["--http2-prior-knowledge", "--protocol", "grpcweb"], "StreamChat"],
  ] as const) {
    test(`is all that buf curl needs to call ${name}`, async () => {
      const chat = { messages: [{ role: "ROLE_USER", text: "hello" }] };
      const data = JSON.stringify(path === "Chat" ? chat : { chat });
      const buf = join(import.meta.dirname, "../../node_modules/.bin/buf");
      const url = `${service.url}/parley.v1.ChatService/${path}`;
      const { stdout } = await promisify(execFile)(buf, ["curl", ...args, "-d", data, url]);
      assert.match(stdout, /You said: |\\"hello\\"/);
    });
  }
});
