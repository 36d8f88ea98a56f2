import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { fileSchema } from "../src/config/schema.ts";
import { parseScript } from "../src/simulator/script/format.ts";

const root = join(import.meta.dirname, "..");
const readme = readFileSync(join(root, "README.md"), "utf8");

function blocks(language: string): string[] {
  return Array.from(
    readme.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, "gm")),
    ([, text = ""]) => text,
  );
}

describe("the README", () => {
  test("shows the configuration file with its defaults", () => {
    const [config = ""] = blocks("yaml");
    const shown = parse(config) as Record<string, Record<string, unknown>>;
    assert.deepEqual(fileSchema.parse(shown), fileSchema.parse({}));
    for (const [name, defaults] of Object.entries(fileSchema.parse({}))) {
      assert.deepEqual(Object.keys(shown[name] ?? {}), Object.keys(defaults), name);
    }
  });

  test("shows settings that are off by default as the file takes them", () => {
    const [config = ""] = blocks("yaml");
    const { claude, server } = fileSchema.parse(parse(config.replace("# tls:", "tls:").replace("# host:", "host: h")));
    assert.equal(server.host, "h");
    assert.equal(server.tls?.clientCaFile, "ca.crt");
    assert.equal(claude.workspaceId, undefined);
  });

  test("tells of every variable of the environment", () => {
    const source = readFileSync(join(root, "src/config/environment.ts"), "utf8");
    const simulator = readFileSync(join(root, "src/simulator/environment.ts"), "utf8");
    const names = `${source}${simulator}`.match(/\b(?:[A-Z]+_)+[A-Z]+\b|\bPORT\b/g) ?? [];
    const missing = [...new Set(names)].filter((name) => !readme.includes(`\`${name}\``));
    assert.deepEqual(missing, ["LOG_LEVELS", "CREDENTIAL_HELP"]);
  });

  test("shows a script that the simulator takes", () => {
    const [, script = ""] = blocks("yaml");
    assert.equal(parseScript(parse(script)).steps.length, 3);
  });

  test("imports the client from where the package has it", async () => {
    const [example = ""] = blocks("ts");
    const paths = Array.from(example.matchAll(/from "(parley\/.*)"/g), ([, path = ""]) => path);
    assert.equal(paths.length, 2);
    for (const path of paths) await import(path);
  });
});
