import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { HEADERS, request } from "./client.ts";

const MAIN = fileURLToPath(new URL("../../src/simulator/main.ts", import.meta.url));

interface Process extends AsyncDisposable {
  readonly child: ChildProcessWithoutNullStreams;
  /** The next line on standard output. */
  nextLine(): Promise<string>;
  /** The exit code and all of standard error. */
  readonly exit: Promise<{ code: number | null; errors: string }>;
}

function run(environment: Record<string, string>): Process {
  const child = spawn(process.execPath, [MAIN], { env: { PATH: process.env.PATH ?? "", ...environment } });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const exit = once(child, "close").then(([code]) => ({ code: code as number | null, errors }));
  return {
    child,
    exit,
    nextLine: async () => (await lines.next()).value ?? "",
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exit;
    },
  };
}

async function urlOf(simulator: Process): Promise<string> {
  const line = await simulator.nextLine();
  return /^Simulating Claude at (http:\/\/127\.0\.0\.1:\d+)$/.exec(line)?.[1] ?? assert.fail(line);
}

const ask = (url: string, body: unknown = request()) =>
  fetch(`${url}/v1/messages`, {
    method: "POST",
    headers: { ...HEADERS, connection: "close" },
    body: JSON.stringify(body),
  });

async function withScript(text: string, use: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "simulator-"));
  try {
    const path = join(folder, "script.yaml");
    await writeFile(path, text);
    await use(path);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const FAST = { SIMULATOR_PORT: "0", SIMULATOR_FIRST_TOKEN_MS: "0", SIMULATOR_TOKENS_PER_SEC: "100000" };

describe("the simulator as a process", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`answers, logs without content, and ends well on ${signal}, also in mid-answer`, async () => {
      await using simulator = run(FAST);
      const url = await urlOf(simulator);
      const response = await ask(url);
      assert.equal(response.status, 200);
      assert.match(await response.text(), /Hello, Claude/);
      assert.match(await simulator.nextLine(), /^POST \/v1\/messages 200 completed, events: 1, ms: \d+, req_\w+$/);
      const unfinished = await ask(url, {
        ...request(),
        stream: true,
        max_tokens: 100_000,
        messages: [{ role: "user", content: "90000 words" }],
      });
      simulator.child.kill(signal);
      assert.deepEqual(await simulator.exit, { code: 0, errors: "" });
      await assert.rejects(unfinished.text());
    });
  }

  test("follows a script, and tells when it was not followed", async () => {
    const text = "steps:\n  - respond: { content: [{ text: Good day }] }\n  - name: second\n";
    await withScript(text, async (path) => {
      await using simulator = run({ ...FAST, SIMULATOR_SCRIPT: path });
      const url = await urlOf(simulator);
      assert.match(await (await ask(url)).text(), /Good day/);
      simulator.child.kill("SIGTERM");
      const { code, errors } = await simulator.exit;
      assert.equal(code, 1);
      assert.equal(errors, "The script was not followed:\n- step 2 (second) was used 0 of 1 times\n");
    });
  });

  test("ends well when the script was followed", async () => {
    await withScript("steps: [{}]", async (path) => {
      await using simulator = run({ ...FAST, SIMULATOR_SCRIPT: path });
      await (await ask(await urlOf(simulator))).text();
      simulator.child.kill("SIGTERM");
      assert.equal((await simulator.exit).code, 0);
    });
  });

  test("limits requests", async () => {
    await using simulator = run({ ...FAST, SIMULATOR_REQ_PER_MIN: "1" });
    const url = await urlOf(simulator);
    assert.equal((await ask(url)).status, 200);
    assert.equal((await ask(url)).status, 429);
  });

  test("tells everything that is wrong with its configuration", async () => {
    await using simulator = run({ SIMULATOR_PORT: "http", SIMULATOR_TOKENS_PER_SEC: "-1", SIMULATOR_REQ_PER_MIN: "" });
    const { code, errors } = await simulator.exit;
    assert.equal(code, 1);
    assert.match(
      errors,
      /^SIMULATOR_PORT must be a whole number from 0 to 65535, but is "http"\nSIMULATOR_TOKENS_PER_SEC .*\n$/,
    );
  });

  test("tells everything that is wrong with its script", async () => {
    await withScript("steps: [{ times: 0 }, { respond: {} }]", async (path) => {
      await using simulator = run({ ...FAST, SIMULATOR_SCRIPT: path });
      const { code, errors } = await simulator.exit;
      assert.equal(code, 1);
      assert.match(errors, /^The script is not valid:\n- steps\.0\.times: .*\n- steps\.1\.respond: .*\n$/);
    });
  });

  test("tells when there is no script, or when its port is taken", async () => {
    await using without = run({ ...FAST, SIMULATOR_SCRIPT: "/nonexistent.yaml" });
    assert.match((await without.exit).errors, /ENOENT/);
    await using first = run(FAST);
    const { port } = new URL(await urlOf(first));
    await using second = run({ ...FAST, SIMULATOR_PORT: port });
    const { code, errors } = await second.exit;
    assert.equal(code, 1);
    assert.match(errors, /in use by another process: set SIMULATOR_PORT/);
  });
});
