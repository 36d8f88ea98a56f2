import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { NAMES } from "../src/config/environment.ts";
import { fileSchema } from "../src/config/schema.ts";
import { TELEMETRY_NAMES } from "../src/config/telemetry-environment.ts";
import { parseScript } from "../src/simulator/script/format.ts";

const root = join(import.meta.dirname, "..");
const tsc = join(root, "node_modules/typescript/bin/tsc");
const readme = readFileSync(join(root, "README.md"), "utf8");

function blocks(language: string): string[] {
  return Array.from(
    readme.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, "gm")),
    ([, text = ""]) => text,
  );
}

function configBlock(): string {
  return blocks("yaml").find((text) => text.startsWith("claude:")) ?? "";
}

describe("the README", () => {
  test("shows the configuration file with its defaults", () => {
    const config = configBlock();
    const shown = parse(config) as Record<string, Record<string, unknown>>;
    assert.deepEqual(fileSchema.parse(shown), fileSchema.parse({}));
    for (const [name, defaults] of Object.entries(fileSchema.parse({}))) {
      assert.deepEqual(Object.keys(shown[name] ?? {}), Object.keys(defaults), name);
    }
  });

  test("shows settings that are off by default as the file takes them", () => {
    const config = configBlock();
    const { claude, server } = fileSchema.parse(parse(config.replace("# tls:", "tls:").replace("# host:", "host: h")));
    assert.equal(server.host, "h");
    assert.equal(server.tls?.clientCaFile, "ca.crt");
    assert.equal(claude.workspaceId, undefined);
  });

  test("shows tools as the file takes them", () => {
    const { tools } = fileSchema.parse(parse(blocks("yaml").find((text) => text.startsWith("tools:")) ?? ""));
    assert.deepEqual([tools.grpc.length, tools.mcp.length], [1, 1]);
  });

  test("shows prices as the file takes them", () => {
    const { prices } = fileSchema.parse(parse(blocks("yaml").find((text) => text.startsWith("prices:")) ?? ""));
    assert.equal(Object.keys(prices).length, 2);
  });

  test("tells of every variable of the environment", () => {
    const simulator = readFileSync(join(root, "src/simulator/environment.ts"), "utf8").match(/\bSIMULATOR_\w+/g) ?? [];
    assert.ok(simulator.length > 0);
    const missing = [...NAMES, ...simulator].filter((name) => !readme.includes(`\`${name}\``));
    assert.deepEqual(missing, []);
  });

  test("tells of every variable of OpenTelemetry, by its name or by how it begins", () => {
    const told = Array.from(readme.matchAll(/`(OTEL_\w+)(\*?)`/g), ([, name = "", star]) => ({ name, star }));
    const isTold = (variable: string) =>
      told.some(({ name, star }) => (star ? variable.startsWith(name) : variable === name));
    assert.deepEqual(
      TELEMETRY_NAMES.filter((name) => !isTold(name)),
      [],
    );
  });

  test("shows a script that the simulator takes", () => {
    const script = blocks("yaml").find((text) => text.startsWith("steps:")) ?? "";
    assert.equal(parseScript(parse(script)).steps.length, 3);
  });

  test("shows a client that compiles against the package", () => {
    const [example = ""] = blocks("ts");
    // Inside of the package, whose own name can be imported there.
    const folder = mkdtempSync(join(root, "node_modules/.readme-"));
    try {
      writeFileSync(join(folder, "example.ts"), example);
      const options = "--noEmit --strict --module nodenext --target esnext --skipLibCheck --types node --ignoreConfig";
      const { stdout } = spawnSync(process.execPath, [tsc, ...options.split(" "), join(folder, "example.ts")]);
      assert.equal(stdout.toString(), "");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
