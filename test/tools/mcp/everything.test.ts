import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { ToolError } from "../../../src/tools/tool.ts";
import { type RunningProcess, startCommand } from "../../support/process.ts";
import { type McpSettings, startSource, type TestSource } from "./source.ts";

/** What should end but does not fails. */
const PATIENCE = { timeout: 60_000 };

/** A server that nobody here wrote: that of the MCP project for tests of clients. */
const script = join(import.meta.dirname, "../../../node_modules/@modelcontextprotocol/server-everything/dist/index.js");

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { readonly port: number };
  server.close();
  await once(server, "close");
  return port;
}

const startEverything = (port: number): RunningProcess =>
  startCommand(process.execPath, [script, "streamableHttp"], { PORT: String(port) });

interface Everything extends AsyncDisposable {
  readonly source: TestSource;
}

/** The server, over each transport that MCP has. */
const transports: Record<string, (settings?: McpSettings) => Promise<Everything>> = {
  async "streamable HTTP"(settings) {
    const port = await freePort();
    const server = startEverything(port);
    const source = startSource({ url: `http://127.0.0.1:${port}/mcp`, ...settings });
    return {
      source,
      async [Symbol.asyncDispose]() {
        await source[Symbol.asyncDispose]();
        await server[Symbol.asyncDispose]();
      },
    };
  },
  async "standard input and output"(settings) {
    const source = startSource({ command: [process.execPath, script, "stdio"], ...settings });
    return { source, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() };
  },
};

const text = (value: string) => ({ type: "text", text: value });

for (const [transport, start] of Object.entries(transports)) {
  test(`the tools of a server over ${transport} are there, and can be called`, PATIENCE, async () => {
    await using everything = await start({ name: "every" });
    const { source } = everything;
    const names = await source.listed();
    assert.ok(names.includes("every__get-sum"), names.join());
    assert.ok(names.every((name) => name.startsWith("every__")));

    const echo = source.tool("echo");
    assert.match(echo.description, /Echo/i);
    assert.deepEqual((JSON.parse(echo.inputSchemaJson) as { required: unknown }).required, ["message"]);
    assert.equal(echo.sideEffect, "none");
    assert.equal(source.tool("gzip-file-as-resource").sideEffect, "idempotent");
    assert.equal(source.tool("toggle-simulated-logging").sideEffect, "mutating");

    assert.deepEqual(await source.call("echo", { message: "hi" }), { content: "Echo: hi" });
    assert.deepEqual(await source.call("get-sum", { a: 2, b: 3 }), { content: "The sum of 2 and 3 is 5." });

    const { content: image } = await source.call("get-tiny-image");
    assert.ok(Array.isArray(image));
    assert.deepEqual(
      image.map(({ type }) => type),
      ["text", "image", "text"],
    );

    const { content: annotated } = await source.call("get-annotated-message", {
      messageType: "error",
      includeImage: true,
    });
    assert.ok(Array.isArray(annotated));
    assert.deepEqual(annotated[0], text("Error: Operation failed"));
    assert.equal(annotated[1]?.type, "image");

    const { content: weather } = await source.call("get-structured-content", { location: "Chicago" });
    assert.deepEqual(Object.keys(JSON.parse(String(weather)) as object), ["temperature", "conditions", "humidity"]);

    const { content: links } = await source.call("get-resource-links", { count: 2 });
    assert.ok(Array.isArray(links));
    assert.match(JSON.stringify(links[1]), /\[resource demo:\/\/resource\/dynamic/);

    const { content: reference } = await source.call("get-resource-reference", { resourceType: "Text", resourceId: 1 });
    assert.match(
      JSON.stringify(reference),
      /\[resource demo:\/\/resource\/dynamic\/text\/1, text\/plain\]\\nResource 1/,
    );

    const invalid = await source.call("echo", {});
    assert.equal(invalid.isError, true);
    assert.match(String(invalid.content), /message/);
  });

  test(`a long call over ${transport} tells its progress, and ends when it is cancelled`, PATIENCE, async () => {
    await using everything = await start();
    const { source } = everything;
    await source.listed();

    const told: string[] = [];
    const input = { duration: 0.2, steps: 4 };
    const done = await source.call("trigger-long-running-operation", input, {
      progress: (message) => told.push(message),
    });
    assert.match(String(done.content), /completed/);
    assert.deepEqual(told.slice(0, 3), ["1 of 4", "2 of 4", "3 of 4"]);

    const controller = new AbortController();
    const cancelled = source.call(
      "trigger-long-running-operation",
      { duration: 3_000, steps: 30_000 },
      { signal: controller.signal, progress: () => controller.abort(new Error("the run was cancelled")) },
    );
    await assert.rejects(cancelled, /the run was cancelled/);
    assert.deepEqual(await source.call("echo", { message: "after" }), { content: "Echo: after" });
  });

  test(`only allowed tools of a server over ${transport} are there, and some require approval`, PATIENCE, async () => {
    await using everything = await start({ tools: ["echo", "get-sum"], approval: ["get-sum"] });
    assert.deepEqual(await everything.source.listed(), ["test__echo", "test__get-sum"]);
    assert.equal(everything.source.tool("echo").requiresApproval, false);
    assert.equal(everything.source.tool("get-sum").requiresApproval, true);
  });
}

test("a server that was killed and started anew on the same port is connected to again", PATIENCE, async () => {
  const port = await freePort();
  await using first = startEverything(port);
  await using source = startSource({ url: `http://127.0.0.1:${port}/mcp` });
  await source.listed();
  const begun = Promise.withResolvers<void>();
  const context = { progress: () => begun.resolve() };
  const underWay = source.call("trigger-long-running-operation", { duration: 1, steps: 50 }, context);
  await begun.promise;

  first.child.kill("SIGKILL");
  await first.exit;
  await source.problem(/there is no connection/);
  assert.ok(source.source.tools.length > 10);

  await using _ = startEverything(port);
  assert.deepEqual(await source.call("echo", { message: "again" }), { content: "Echo: again" });
  // It only reads, so that it could be made again.
  assert.match(String((await underWay).content), /completed/);
});

test("a server that is not there yet when the service starts is connected to when it is", PATIENCE, async () => {
  const port = await freePort();
  await using source = startSource({ url: `http://127.0.0.1:${port}/mcp` });
  assert.deepEqual(source.source.tools, []);
  await source.problem(/there is no connection/);
  await using _ = startEverything(port);
  assert.ok((await source.listed()).includes("test__echo"));
});

test("a call fails as unavailable when its server is killed and does not come back", PATIENCE, async () => {
  const port = await freePort();
  await using server = startEverything(port);
  await using source = startSource({ url: `http://127.0.0.1:${port}/mcp`, connectTimeout: "100ms" });
  await source.problem(/there is no connection/);
  await source.listed();
  const begun = Promise.withResolvers<void>();
  const input = { duration: 600, steps: 60_000 };
  const called = source.call("trigger-long-running-operation", input, { progress: () => begun.resolve() });
  await begun.promise;
  server.child.kill("SIGKILL");
  await assert.rejects(called, (error) => error instanceof ToolError && error.code === Code.Unavailable);
});
