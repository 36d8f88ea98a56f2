import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { ToolError } from "../../../src/tools/tool.ts";
import {
  type McpAnswer,
  type McpServerOptions,
  plainTool,
  startMcpServer,
  textResult,
} from "../../support/mcp-server.ts";
import { startSource } from "./source.ts";

/** What should end but does not fails. */
const PATIENCE = { timeout: 30_000 };

const readOnly = { annotations: { readOnlyHint: true } };

/** A server that answers calls so, and its tools. */
async function serverThat(answer: (attempt: number) => McpAnswer | Promise<McpAnswer>, options: McpServerOptions = {}) {
  let attempts = 0;
  const answers = { "tools/call": () => answer(++attempts), ...options.answers };
  return startMcpServer({ tools: [plainTool("work"), plainTool("look", readOnly)], ...options, answers });
}

function calls(server: { readonly received: readonly { readonly method: string }[] }): number {
  return server.received.filter(({ method }) => method === "tools/call").length;
}

const fails = (code: Code, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ToolError, String(error));
  assert.equal(Code[error.code], Code[code], error.message);
  assert.match(error.message, message);
  return true;
};

const protocolErrors: readonly [code: number, expected: Code][] = [
  [-32700, Code.Internal],
  [-32600, Code.Internal],
  [-32601, Code.Unimplemented],
  [-32602, Code.InvalidArgument],
  [-32603, Code.Internal],
  [-32002, Code.NotFound],
  [-32042, Code.FailedPrecondition],
  [-32000, Code.Unknown],
  [0, Code.Unknown],
  [7, Code.Unknown],
];
for (const [code, expected] of protocolErrors) {
  test(`JSON-RPC error ${code} of a call is ${Code[expected]}, with the server's words`, PATIENCE, async () => {
    await using server = await serverThat(() => ({ error: { code, message: "because of this" } }));
    await using source = startSource({ url: server.url });
    await source.listed();
    await assert.rejects(source.call("look"), fails(expected, /because of this/));
    assert.equal(calls(server), 1);
  });
}

const statuses: readonly [status: number, expected: Code, attempts: number][] = [
  [403, Code.PermissionDenied, 1],
  [413, Code.InvalidArgument, 1],
  [418, Code.Internal, 1],
  [429, Code.ResourceExhausted, 1],
  [500, Code.Unavailable, 3],
  [503, Code.Unavailable, 3],
  [400, Code.Unavailable, 3],
  [404, Code.Unavailable, 3],
  [401, Code.PermissionDenied, 3],
];
for (const [status, expected, attempts] of statuses) {
  test(`status ${status} of a call is ${Code[expected]}, after ${attempts} attempts`, PATIENCE, async () => {
    await using server = await serverThat(() => ({ status, body: "secret inner text" }));
    await using source = startSource({ url: server.url });
    await source.listed();
    await assert.rejects(source.call("look"), (error: ToolError) => {
      assert.doesNotMatch(error.message, /inner/);
      return fails(expected, /./)(error);
    });
    assert.equal(calls(server), attempts);
  });
}

const badAnswers: Record<string, { readonly answer: McpAnswer; readonly code: Code; readonly message: RegExp }> = {
  "no JSON": { answer: { status: 200, body: "{" }, code: Code.Internal, message: /cannot be read/ },
  "no JSON-RPC": { answer: { status: 200, body: "{}" }, code: Code.Internal, message: /cannot be read/ },
  HTML: { answer: { status: 200, body: "<p>", type: "text/html" }, code: Code.Internal, message: /cannot be read/ },
  "a result that is no object": { answer: { result: 5 }, code: Code.Internal, message: /cannot be read/ },
  "content that is no list": { answer: { result: { content: 5 } }, code: Code.Internal, message: /cannot be read/ },
  "a block of no known type": {
    answer: { result: { content: [{ type: "smell" }] } },
    code: Code.Internal,
    message: /cannot be read/,
  },
  "a result that is too large": {
    answer: textResult("x".repeat(200_000)),
    code: Code.ResourceExhausted,
    message: /more than 100000 bytes/,
  },
  "an event that is too large": {
    answer: { stream: [{ method: "notifications/x", params: { text: "x".repeat(200_000) } }], after: "stay" },
    code: Code.ResourceExhausted,
    message: /more than 100000 bytes/,
  },
};
for (const [name, { answer, code, message }] of Object.entries(badAnswers)) {
  test(`an answer that is ${name} fails its call alone`, PATIENCE, async () => {
    await using server = await serverThat((attempt) => (attempt === 1 ? answer : textResult("well")));
    await using source = startSource({ url: server.url, responseBytes: "100000B" });
    await source.listed();
    await assert.rejects(source.call("work"), fails(code, message));
    assert.deepEqual(await source.call("work"), { content: "well" });
    assert.equal(calls(server), 2);
  });
}

test("an endless stream of small events is not too large", PATIENCE, async () => {
  const noise = Array.from({ length: 100 }, () => ({ method: "notifications/x", params: { text: "x".repeat(2_000) } }));
  await using server = await startMcpServer({
    answers: {
      "tools/call": ({ id }) => ({ stream: [...noise, { id, ...textResult("after all") }] }),
    },
  });
  await using source = startSource({ url: server.url, responseBytes: "100000B" });
  await source.listed();
  assert.deepEqual(await source.call("work"), { content: "after all" });
});

for (const after of ["end", "break"] as const) {
  test(
    `a call whose stream ${after}s without an answer is not made again where it may do something twice`,
    PATIENCE,
    async () => {
      await using server = await serverThat(() => ({ stream: [], after }));
      await using source = startSource({ url: server.url });
      await source.listed();
      await assert.rejects(source.call("work"), fails(Code.Unavailable, /not available/));
      assert.equal(calls(server), 1);
    },
  );

  test(`a call whose stream ${after}s without an answer is made again where it only reads`, PATIENCE, async () => {
    await using server = await startMcpServer({
      tools: [plainTool("look", readOnly)],
      answers: {
        "tools/call": ({ id }) =>
          id === undefined || calls(server) === 1 ? { stream: [], after } : { stream: [{ id, ...textResult("seen") }] },
      },
    });
    await using source = startSource({ url: server.url });
    await source.listed();
    assert.deepEqual(await source.call("look"), { content: "seen" });
    assert.equal(calls(server), 2);
  });
}

test("when the server has forgotten the session, a call of any tool is made again in a new one", PATIENCE, async () => {
  await using server = await serverThat(() => textResult("done"));
  await using source = startSource({ url: server.url });
  await source.listed();
  server.forgetSessions();
  assert.deepEqual(await source.call("work"), { content: "done" });
  assert.equal(calls(server), 1);
  assert.equal(server.received.filter(({ method }) => method === "initialize").length, 2);
});

test("a token in a file is read anew when the server refuses the old one", PATIENCE, async () => {
  const folder = mkdtempSync(join(tmpdir(), "parley-mcp-"));
  const path = join(folder, "token");
  writeFileSync(path, "Bearer old\n");
  await using server = await startMcpServer({
    answers: {
      "tools/call": ({ headers }) => (headers.authorization === "Bearer new" ? textResult("in") : { status: 401 }),
    },
  });
  await using source = startSource({
    url: server.url,
    headers: { "x-team": "a" },
    headerFiles: { Authorization: path },
  });
  await source.listed();
  writeFileSync(path, "Bearer new\n");
  assert.deepEqual(await source.call("work"), { content: "in" });
  assert.deepEqual(
    server.received.filter(({ method }) => method === "tools/call").map(({ headers }) => headers.authorization),
    ["Bearer old", "Bearer new"],
  );
  assert.ok(server.received.every(({ headers }) => headers["x-team"] === "a"));
  rmSync(folder, { recursive: true });
});

test("a file with a header that is not there is told, and connecting is tried again", PATIENCE, async () => {
  const folder = mkdtempSync(join(tmpdir(), "parley-mcp-"));
  const path = join(folder, "token");
  await using server = await startMcpServer();
  await using source = startSource({ url: server.url, headerFiles: { authorization: path } });
  await source.problem(/ENOENT/);
  writeFileSync(path, "Bearer x");
  assert.deepEqual(await source.listed(), ["test__work"]);
  rmSync(folder, { recursive: true });
});

test("a cancelled call is cancelled at the server, and leaves no connection open", PATIENCE, async () => {
  await using server = await serverThat(() => "nothing");
  await using source = startSource({ url: server.url });
  await source.listed();
  const controller = new AbortController();
  const called = source.call("work", {}, { signal: controller.signal });
  const request = await server.message(({ method }) => method === "tools/call");
  controller.abort(new Error("the run was cancelled"));
  await assert.rejects(called, /the run was cancelled/);
  const cancelled = await server.message(({ method }) => method === "notifications/cancelled");
  assert.equal(cancelled.params?.requestId, request.id);
  await request.closed;
});

test("a call that the server does not answer ends at its deadline, and is cancelled there", PATIENCE, async () => {
  await using server = await serverThat(() => "nothing");
  await using source = startSource({ url: server.url });
  await source.listed();
  const called = source.call("look", {}, { deadline: performance.now() + 300 });
  await assert.rejects(called, fails(Code.DeadlineExceeded, /in time/));
  await server.message(({ method }) => method === "notifications/cancelled");
  assert.equal(calls(server), 1);
});

test("a server that accepts connections and says nothing is told, and does not delay the end", PATIENCE, async () => {
  const silent = createServer((socket) => socket.resume()).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as { readonly port: number };
  const source = startSource({ url: `http://127.0.0.1:${port}`, connectTimeout: "100ms" });
  await source.problem(/there is no connection/);
  assert.deepEqual(source.source.tools, []);
  await source[Symbol.asyncDispose]();
  silent.close();
  await once(silent, "close");
});

test("ending while a server is being connected to ends that", PATIENCE, async () => {
  const silent = createServer(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as { readonly port: number };
  const source = startSource({ url: `http://127.0.0.1:${port}`, connectTimeout: "5m" });
  const [socket] = await once(silent, "connection");
  const gone = once(socket, "close");
  socket.resume();
  await source[Symbol.asyncDispose]();
  await gone;
  silent.close();
});

test("ending tells the server, ends calls under way, and leaves no connection open", PATIENCE, async () => {
  await using server = await serverThat(() => "nothing");
  const source = startSource({ url: server.url });
  await source.listed();
  const called = source.call("look");
  await server.message(({ method }) => method === "tools/call");
  const ended = source[Symbol.asyncDispose]();
  await assert.rejects(called, fails(Code.Unavailable, /not available/));
  await ended;
  await server.message(({ method }) => method === "DELETE");
  await server.noConnections();
  assert.equal(calls(server), 1);
});

test("while there is no server, its tools remain, and calls of them fail as unavailable", PATIENCE, async () => {
  const server = await serverThat(() => textResult("done"));
  await using source = startSource({ url: server.url, connectTimeout: "100ms" });
  await source.listed();
  await server[Symbol.asyncDispose]();
  await source.problem(/there is no connection/);
  assert.equal(source.source.tools.length, 2);
  await assert.rejects(source.call("work"), fails(Code.Unavailable, /not available/));
});

test("a call waits for a server that comes back, and its tools are listed anew", PATIENCE, async () => {
  const server = await serverThat(() => textResult("done"));
  await using source = startSource({ url: server.url });
  await source.listed();
  await server[Symbol.asyncDispose]();
  await source.problem(/there is no connection/);
  const called = source.call("work");
  await using again = await startMcpServer({ port: server.port, tools: [plainTool("work"), plainTool("new")] });
  assert.deepEqual(await called, { content: "done" });
  assert.deepEqual(await source.listed(2), ["test__work", "test__new"]);
  assert.equal(calls(again), 1);
});

test("the same reason for having no connection is told once", PATIENCE, async () => {
  let refused = 0;
  const enough = Promise.withResolvers<void>();
  await using server = await startMcpServer({
    answers: {
      "server/discover": () => {
        if (++refused === 3) enough.resolve();
        return { status: 503 };
      },
    },
  });
  await using source = startSource({ url: server.url });
  await enough.promise;
  assert.equal(source.problems.length, 1);
  assert.equal(source.problems[0]?.server, "test");
});

test("a call that waits for a connection is not forgotten when the first attempt fails late", PATIENCE, async () => {
  let lists = 0;
  const waiting = Promise.withResolvers<void>();
  await using server = await startMcpServer({
    answers: {
      "tools/list": async () => {
        if (++lists !== 2) return { result: { tools: [plainTool("work")] } };
        await waiting.promise;
        return { status: 500 };
      },
    },
  });
  await using source = startSource({ url: server.url });
  await source.listed();
  server.forgetSessions();
  const called = source.call("work");
  while (lists < 2) await server.message(({ method }) => method === "tools/list").then(() => new Promise(setImmediate));
  waiting.resolve();
  assert.deepEqual(await called, { content: "done" });
  assert.equal(lists, 3);
});

test("a list of tools that is too large is told as such", PATIENCE, async () => {
  const description = "x".repeat(20_000);
  await using server = await startMcpServer({ tools: [plainTool("work", { description })] });
  await using source = startSource({ url: server.url, responseBytes: "10KiB" });
  await source.problem(/there is no connection: the answer has more than 10240 bytes/);
});

test("what a call finds out about a connection that was replaced does not concern the next", PATIENCE, async () => {
  const late = Promise.withResolvers<McpAnswer>();
  await using server = await serverThat((attempt) => (attempt === 1 ? late.promise : textResult("done")));
  await using source = startSource({ url: server.url });
  await source.listed();
  const underWay = source.call("work");
  await server.message(({ method }) => method === "tools/call");
  server.forgetSessions();
  await source.call("work");
  late.resolve({ status: 404 });
  assert.deepEqual(await underWay, { content: "done" });
  assert.deepEqual(await source.call("work"), { content: "done" });
  assert.equal(server.received.filter(({ method }) => method === "initialize").length, 2);
});

test("ending ends calls on connections that were replaced", PATIENCE, async () => {
  await using server = await serverThat((attempt) => (attempt === 1 ? "nothing" : textResult("done")));
  const source = startSource({ url: server.url });
  await source.listed();
  const underWay = source.call("work");
  await server.message(({ method }) => method === "tools/call");
  server.forgetSessions();
  await source.call("work");
  const ended = source[Symbol.asyncDispose]();
  await assert.rejects(underWay, fails(Code.Unavailable, /not available/));
  await ended;
  await server.noConnections();
});
