import assert from "node:assert/strict";
import { test } from "node:test";
import { startSource } from "./source.ts";

/** What should end but does not fails. */
const PATIENCE = { timeout: 30_000 };

/** A server whose one tool tells its process. Variants of it do what programs should not. */
const server = (variant = "") => `
  ${variant}
  let rest = "";
  const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\\n");
  const answers = {
    initialize: () => ({ protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "x", version: "1" } }),
    "tools/list": () => ({ tools: [{ name: "pid", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } }] }),
    "tools/call": ({ arguments: { exit, size } }) => {
      if (exit) process.exit(1);
      return { content: [{ type: "text", text: process.pid + ":" + process.env.GREETING + " ".repeat(size ?? 0) }] };
    },
  };
  process.stdin.on("data", (chunk) => {
    const lines = (rest + chunk).split("\\n");
    rest = lines.pop();
    for (const { id, method, params } of lines.map((line) => JSON.parse(line))) {
      if (id === undefined) continue;
      const result = answers[method]?.(params);
      send(result ? { id, result } : { id, error: { code: -32601, message: "no" } });
    }
  });
`;

const settings = (variant?: string) => ({
  command: [process.execPath, "-e", server(variant)],
  env: { GREETING: "hello" },
  responseBytes: "10KiB",
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Process of the server. */
async function processOf(source: ReturnType<typeof startSource>): Promise<number> {
  const [pid, greeting] = String((await source.call("pid")).content).split(":");
  assert.equal(greeting, "hello");
  return Number(pid);
}

test("a program is ended with its source", PATIENCE, async () => {
  const source = startSource(settings());
  await source.listed();
  const pid = await processOf(source);
  assert.ok(isAlive(pid));
  await source[Symbol.asyncDispose]();
  assert.ok(!isAlive(pid));
});

test(
  "a program that does not end when its input does, nor when it is asked to, is ended all the same",
  PATIENCE,
  async () => {
    const source = startSource(settings('setInterval(() => {}, 1e6); process.on("SIGTERM", () => {});'));
    await source.listed();
    const pid = await processOf(source);
    await source[Symbol.asyncDispose]();
    while (isAlive(pid)) await new Promise(setImmediate);
  },
);

test("a program that was killed is started again", PATIENCE, async () => {
  await using source = startSource(settings());
  await source.listed();
  const pid = await processOf(source);
  process.kill(pid, "SIGKILL");
  await source.problem(/the connection was closed/);
  assert.notEqual(await processOf(source), pid);
});

test("a call in which the program ends fails as unavailable, after it was made again", PATIENCE, async () => {
  await using source = startSource(settings());
  await source.listed();
  await assert.rejects(source.call("pid", { exit: true }), /not available/);
  assert.ok(isAlive(await processOf(source)));
});

test("a program that answers too much is started anew", PATIENCE, async () => {
  await using source = startSource(settings());
  await source.listed();
  await assert.rejects(source.call("pid", { size: 20_000 }), /not available/);
  assert.ok(isAlive(await processOf(source)));
});

test("a program that writes what is no JSON besides can be used", PATIENCE, async () => {
  await using source = startSource(settings('console.log("welcome!");'));
  await source.listed();
  assert.ok(isAlive(await processOf(source)));
});

test("a program that is not there, or ends at once, is told", PATIENCE, async () => {
  await using missing = startSource({ command: ["/no/such/program"] });
  await missing.problem(/ENOENT/);
  await using ending = startSource({ command: [process.execPath, "-e", "0"] });
  await ending.problem(/there is no connection/);
});
