import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify, stripVTControlCharacters } from "node:util";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { parse } from "yaml";
import { startService } from "../support/service.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");
const bin = join(root, "node_modules/.bin");
const tsc = join(root, "node_modules/typescript/bin/tsc");
const guide = readFileSync(join(root, "proto/README.md"), "utf8");
const question = "Tell me a story in 60 words.";

interface Block {
  /** The file that the line above the block names. */
  readonly file: string | undefined;
  readonly language: string;
  readonly text: string;
}

/** The fenced blocks of a section of the guide. */
function blocks(title: string): Block[] {
  const section = guide.split(/^## /m).find((part) => part.startsWith(`${title}\n`)) ?? "";
  const fenced = /(?:^`([^`\n]+)`:\n\n)?^```(\w*)\n([\s\S]*?)^```/gm;
  return Array.from(section.matchAll(fenced), ([, file, language = "", text = ""]) => ({ file, language, text }));
}

function block(title: string, language: string): string {
  const found = blocks(title).find((one) => one.language === language);
  assert.ok(found !== undefined, `${title} has a block of ${language}`);
  return found.text;
}

const environment = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` };
let folder = "";
let image = "";

/** A project of its own, with the two files that the guide tells to copy. */
function project(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, "parley.binpb"), readFileSync(image));
  writeFileSync(join(path, "service-config.json"), readFileSync(join(root, "proto/service-config.json")));
  return path;
}

describe("the guide to clients", () => {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "parley-guide-"));
    image = join(folder, "parley.binpb");
    // The first line of the block is what has been run before the tests.
    const [, build = ""] = block("The proto files", "sh").split("\n");
    const [command = "", ...args] = build.replace("npx ", "").replace("parley.binpb", image).split(" ");
    await run(command, args, { cwd: root, env: environment });
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test("makes one file of ours and of what ours import", () => {
    const names = fromBinary(FileDescriptorSetSchema, readFileSync(image)).file.map(({ name }) => name);
    for (const name of ["parley/v1/chat_service.proto", "google/rpc/error_details.proto"]) {
      assert.ok(names.includes(name), name);
    }
  });

  for (const language of ["Go", "Java", "Python", "TypeScript"]) {
    test(`shows what buf takes, for ${language}`, () => {
      const { version, plugins, inputs } = parse(block(language, "yaml")) as Record<string, unknown>;
      assert.equal(version, "v2");
      assert.ok(Array.isArray(plugins) && plugins.length > 0);
      const [input] = inputs as { binary_image: string; exclude_types: string[] }[];
      assert.equal(input?.binary_image, "parley.binpb");
      assert.deepEqual(input.exclude_types, ["buf.validate"]);
    });
  }

  describe("in TypeScript", () => {
    /** Type-checks the client, asks a service, and asserts that it prints the answer and why it ended. */
    async function check(path: string, code: string): Promise<void> {
      const modules = join(path, "node_modules");
      mkdirSync(modules);
      for (const name of ["@bufbuild", "@connectrpc", "@types", "undici-types"]) {
        symlinkSync(join(root, "node_modules", name), join(modules, name));
      }
      symlinkSync(root, join(modules, "parley"));
      writeFileSync(join(path, "package.json"), '{ "type": "module" }');
      writeFileSync(join(path, "hello.ts"), code);
      const options = "--noEmit --strict --module nodenext --target esnext --skipLibCheck --types node --ignoreConfig";
      await run(process.execPath, [tsc, ...options.split(" "), "hello.ts"], { cwd: path });
      await using service = await startService();
      const { stdout } = await run(process.execPath, ["hello.ts", service.url], { cwd: path });
      assert.match(stdout, /\w+ \w+.*\nEND_TURN\n$/s);
    }

    test("a client of the package compiles and prints an answer", async () => {
      await check(project("package"), block("TypeScript", "ts"));
    });

    test("so does one that is generated", async () => {
      const path = project("generated");
      writeFileSync(join(path, "buf.gen.yaml"), block("TypeScript", "yaml"));
      await run("buf", ["generate"], { cwd: path, env: environment });
      const code = block("TypeScript", "ts");
      assert.ok(code.includes('"parley/'));
      await check(path, code.replaceAll('"parley/', '"./gen/'));
    });

    test("a client prints what an error carries", async () => {
      const path = project("refused");
      const overloaded = { status: 529, headers: { "retry-after": "25" } };
      const script = { steps: [{ respond: overloaded }] };
      await using service = await startService({ config: { claude: { retry: { maxAttempts: 1 } } }, script });
      symlinkSync(join(folder, "package/node_modules"), join(path, "node_modules"));
      writeFileSync(join(path, "package.json"), '{ "type": "module" }');
      writeFileSync(join(path, "hello.ts"), block("TypeScript", "ts"));
      const failed = await run(process.execPath, ["hello.ts", service.url], { cwd: path }).then(
        () => assert.fail("succeeded"),
        (error: { readonly code: number; readonly stderr: string }) => error,
      );
      assert.equal(failed.code, 1);
      assert.match(failed.stderr, /OVERLOADED_ERROR[\s\S]*try again after[\s\S]*seconds: 25n[\s\S]*Unavailable/);
    });
  });

  test("by hand, what it says to do does what it says", async () => {
    await using service = await startService();
    const told: [begin: string, code: number, output: RegExp][] = [
      ["npx buf curl --protocol grpc --list-methods", 0, /^parley\.v1\.AgentService\/RunAgent$/m],
      ["npx buf curl --protocol grpc --timeout 30s", 0, /"stopReason": "STOP_REASON_END_TURN"/],
      ["npx buf curl --protocol connect -d '{}'", 24, /"reason": "INVALID_REQUEST"[\s\S]*"field": "messages"/],
      ["npx buf curl --protocol grpc --timeout 2m", 0, /"state": "RUN_STATE_SUCCEEDED"/],
      ["npx buf curl --protocol grpc http://localhost:8080/grpc.health.v1.Health/Check", 0, /"status": "SERVING"/],
    ];
    for (const [begin, code, output] of told) {
      const shown = blocks("By hand").find(({ text }) => text.startsWith(begin));
      assert.ok(shown !== undefined, begin);
      const command = shown.text.replace("npx ", "").replace("http://localhost:8080", service.url);
      const result = await run("sh", ["-c", command], { env: environment }).then(
        ({ stdout }) => ({ code: 0, text: stdout }),
        (error) => ({ code: error.code as number, text: `${error.stdout}${error.stderr}` }),
      );
      assert.match(result.text, output);
      assert.equal(result.code, code, command);
    }
    const ids = service.logs.filter(({ msg }) => msg === "call").map(({ call }) => call);
    assert.ok(ids.includes("by-hand-1"));
  });

  /** What a language's tools are told beside what the guide tells: Go's would install into the home folder. */
  const languages: Record<string, (path: string) => NodeJS.ProcessEnv> = {
    Go: (path) => ({ GOBIN: join(path, ".bin"), PATH: `${join(path, ".bin")}${delimiter}${environment.PATH}` }),
    Java: () => ({}),
    Python: () => ({}),
  };

  // They take packages from the network.
  const skip = process.env.CI_TOOLS === "1" ? false : "only with CI_TOOLS=1";
  describe("what it says to do makes a client that prints an answer", { skip, concurrency: true }, () => {
    for (const [name, environmentOf] of Object.entries(languages)) {
      test(`in ${name}`, { timeout: 600_000 }, async () => {
        const path = project(name);
        for (const { file, language, text } of blocks(name)) {
          if (language === "sh") continue;
          assert.ok(file !== undefined);
          mkdirSync(dirname(join(path, file)), { recursive: true });
          writeFileSync(join(path, file), text);
        }
        await using service = await startService();
        const steps = block(name, "sh");
        assert.ok(steps.includes("localhost:8080"));
        const here = steps.replace("localhost:8080", new URL(service.url).host);
        const env = { ...environment, ...environmentOf(path) };
        const { stdout } = await run("sh", ["-ec", here], { cwd: path, env });
        // Maven writes control characters around what the client prints.
        assert.match(stripVTControlCharacters(stdout), /\w+ \w+.*\nSTOP_REASON_END_TURN\n$/s);
        assert.match(JSON.stringify(service.simulator.requests[0]?.body), new RegExp(question));
      });
    }
  });
});
