import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";

const root = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "parley-lint-"));
after(() => rmSync(folder, { recursive: true }));

const refused: readonly [file: string, source: string][] = [
  ["admin/progress.ts", "../upstream/upstream.ts"],
  ["admin/progress.ts", "@anthropic-ai/sdk"],
  ["agent/turn.ts", "../rpc/chat.ts"],
  ["agent/turn.ts", "../server.ts"],
  ["agent/turn.ts", "../../gen/parley/v1/usage_pb.js"],
  ["agent/deeper/turn.ts", "../../listen/serve.ts"],
  ["agent/loop.ts", "../runs/runs.ts"],
  ["agent/loop.ts", "../tools/grpc/grpc-tools.ts"],
  ["client/transport.ts", "../errors/failure.ts"],
  ["config/config.ts", "../upstream/upstream.ts"],
  ["descriptors/image.ts", "../tools/tool.ts"],
  ["descriptors/image.ts", "@anthropic-ai/sdk"],
  ["errors/failure.ts", "../rpc/call.ts"],
  ["errors/failure.ts", "@anthropic-ai/sdk"],
  ["interceptors/validate.ts", "../upstream/upstream.ts"],
  ["listen/admin-listener.ts", "../admin/endpoints.ts"],
  ["listen/serve.ts", "../agent/turn.ts"],
  ["listen/serve.ts", "../demo/main.ts"],
  ["observe/tracing.ts", "../admin/progress.ts"],
  ["observe/tracing.ts", "../observers.ts"],
  ["agent/turn.ts", "../observe/tracing.ts"],
  ["rpc/chat.ts", "../client/transport.ts"],
  ["rpc/chat.ts", "../config/config.ts"],
  ["rpc/tools.ts", "../tools/mcp/mcp-tools.ts"],
  ["runs/runs.ts", "../rpc/call.ts"],
  ["runs/runs.ts", "../tools/registry.ts"],
  ["runs/runs.ts", "@anthropic-ai/sdk"],
  ["rpc/chat.ts", "@anthropic-ai/sdk/resources"],
  ["rpc/convert/events.ts", "../../listen/serve.ts"],
  ["simulator/main.ts", "../config/config.ts"],
  ["simulator/main.ts", "../server.ts"],
  ["simulator/main.ts", "@bufbuild/protobuf"],
  ["tools/grpc/grpc-tools.ts", "../../agent/loop.ts"],
  ["tools/registry.ts", "./mcp/mcp-tools.ts"],
  ["upstream/anthropic.ts", "../agent/turn.ts"],
  ["upstream/anthropic.ts", "@connectrpc/connect"],
];

const allowed: readonly [file: string, source: string][] = [
  ["admin/endpoints.ts", "../listen/admin-listener.ts"],
  ["admin/progress.ts", "../runs/run-record.ts"],
  ["agent/turn.ts", "../upstream/upstream.ts"],
  ["agent/loop.ts", "../tools/tool.ts"],
  ["client/transport.ts", "./addresses.ts"],
  ["errors/failure.ts", "../../gen/google/rpc/status_pb.js"],
  ["listen/serve.ts", "../interceptors/validate.ts"],
  ["observe/observed-calls.ts", "../listen/dispatcher.ts"],
  ["rpc/convert/events.ts", "@anthropic-ai/sdk"],
  ["rpc/convert/events.ts", "../../../gen/parley/v1/usage_pb.js"],
  ["rpc/run-agent.ts", "../runs/runs.ts"],
  ["runs/runs.ts", "../agent/loop.ts"],
  ["runs/runs.ts", "../../gen/parley/v1/agent_service_pb.js"],
  ["server.ts", "./upstream/anthropic.ts"],
  ["tools/mcp/mcp-tools.ts", "../tool.ts"],
  ["simulator/main.ts", "@anthropic-ai/sdk"],
];

test("the linter knows which room may import what", () => {
  cpSync(join(root, "test/lint"), join(folder, "test/lint"), { recursive: true });
  writeFileSync(
    join(folder, "biome.json"),
    JSON.stringify({
      plugins: ["./test/lint/import-directions.grit", "./test/lint/sdk-at-run-time.grit"],
      linter: { rules: { preset: "none" } },
    }),
  );
  const write = (name: string, statement: string) => {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${statement}\n`);
  };
  const checks = [
    ...refused.map((rule, number) => ({ rule, number, isAllowed: false })),
    ...allowed.map((rule, number) => ({ rule, number, isAllowed: true })),
  ];
  for (const { rule, number, isAllowed } of checks) {
    write(`${isAllowed ? "allowed" : "refused"}/${number}/src/${rule[0]}`, `import type { x } from "${rule[1]}";`);
  }
  write("refused/dynamic/src/agent/turn.ts", 'export const chat = await import("../rpc/chat.ts");');
  write("refused/run-time/src/rpc/convert/events.ts", 'import Anthropic from "@anthropic-ai/sdk";');
  write("allowed/run-time/src/upstream/anthropic.ts", 'import Anthropic from "@anthropic-ai/sdk";');

  const biome = join(root, "node_modules/@biomejs/biome/bin/biome");
  const args = [biome, "lint", "--reporter=json", "--max-diagnostics=none", "."];
  const { stdout } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
  const { diagnostics } = JSON.parse(stdout) as {
    diagnostics: { severity: string; location: { path: string | { file: string } } }[];
  };
  const found = diagnostics.map(({ severity, location: { path } }) => {
    return `${severity} ${(typeof path === "string" ? path : path.file).split("/").slice(0, 2).join("/")}`;
  });
  const expected = [
    ...refused.map((_, number) => `error refused/${number}`),
    "error refused/dynamic",
    "error refused/run-time",
  ];
  assert.deepEqual(found.toSorted(), expected.toSorted());
});
