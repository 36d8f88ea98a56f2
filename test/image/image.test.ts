import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer as createHttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ChatService } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { type Container, type ImageConfig, runContainer } from "./container.ts";

const repository = join(import.meta.dirname, "../..");
const chat = { messages: [{ role: Role.USER, text: "hello" }] };
const options = { timeoutMs: 30_000 };

/** Why the image cannot be built here; false: it can. With CI_TOOLS=1, which `.ci/run` sets, it has to be. */
function missing(): string | false {
  if (process.env.CI_TOOLS === "1") return false;
  const isRoot = process.getuid?.() === 0;
  const hasTools = ["buildah", "mmdebstrap", "unshare"].every(
    (tool) => spawnSync(tool, ["--version"]).error === undefined,
  );
  return isRoot && hasTools ? false : "it takes root, buildah and mmdebstrap to build the image";
}

interface Component {
  readonly name: string;
  readonly group?: string;
  readonly version: string;
  readonly licenses?: readonly object[];
}

/** What the lock file has for the service, as name@version. */
function productionPackages(): readonly string[] {
  const { packages } = JSON.parse(readFileSync(join(repository, "package-lock.json"), "utf8")) as {
    packages: Record<string, { version: string; dev?: boolean }>;
  };
  const needed = Object.entries(packages).filter(([path, { dev }]) => path !== "" && dev !== true);
  return [...new Set(needed.map(([path, { version }]) => `${path.split("node_modules/").at(-1)}@${version}`))].sort();
}

/** @param more what is needed besides packages, as name@version. */
function assertBill(text: string, ...more: readonly string[]): void {
  const bill = JSON.parse(text) as {
    bomFormat: string;
    metadata: { component: { name: string } };
    components: readonly Component[];
  };
  assert.equal(bill.bomFormat, "CycloneDX");
  assert.equal(bill.metadata.component.name, "parley");
  assert.deepEqual(
    [...new Set(bill.components.map(({ name, version }) => `${name}@${version}`))].sort(),
    [...productionPackages(), ...more].sort(),
  );
  for (const { name, licenses } of bill.components) assert.ok(licenses !== undefined && licenses.length > 0, name);
}

test("the bill of materials has all that the service runs on, with licences, and nothing that only development needs", () => {
  assertBill(execFileSync("npm", ["run", "--silent", "sbom"], { cwd: repository, encoding: "utf8" }));
});

describe("the image that the Dockerfile makes", { skip: missing(), timeout: 200_000 }, () => {
  let folder: string;
  let root: string;
  let config: ImageConfig;
  let simulator: Simulator;
  let secrets: string;
  before(
    async () => {
      folder = mkdtempSync(join(tmpdir(), "parley-image-"));
      execFileSync(join(import.meta.dirname, "build.sh"), [folder], { stdio: ["ignore", "ignore", "pipe"] });
      root = join(folder, "root");
      config = (JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as { OCIv1: { config: ImageConfig } })
        .OCIv1.config;
      simulator = await createSimulator({ pacing: "instant" });
      secrets = join(folder, "secrets");
      mkdirSync(secrets);
      writeFileSync(join(secrets, "api-key"), "sk-test\n");
      writeFileSync(join(secrets, "parley.yaml"), "server: { lameDuck: 0s, drain: 1h }\n");
    },
    { timeout: 150_000 },
  );
  after(async () => {
    await simulator[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  const start = (env: Readonly<Record<string, string>> = {}): Container =>
    runContainer(root, config, secrets, {
      ANTHROPIC_API_KEY_FILE: "/secrets/api-key",
      ANTHROPIC_BASE_URL: simulator.url,
      PARLEY_CONFIG: "/secrets/parley.yaml",
      PORT: "0",
      ADMIN_PORT: "0",
      ...env,
    });

  /** All that is in the image, by path. */
  const entries = () => readdirSync(root, { recursive: true, withFileTypes: true });

  test("says who runs it, how, and what it is", () => {
    assert.equal(config.User, "65532:65532");
    assert.deepEqual([...config.Entrypoint, ...config.Cmd], ["node", "--max-semi-space-size=16", "src/main.ts"]);
    assert.ok(config.Env.includes("NODE_ENV=production"));
    assert.deepEqual(Object.keys(config.ExposedPorts).sort(), ["8080/tcp", "9090/tcp"]);
    const label = (name: string) => config.Labels[`org.opencontainers.image.${name}`];
    assert.deepEqual([label("title"), label("version"), label("revision")], ["Parley", "0.0.0-test", "0123456"]);
    assert.equal(label("licenses"), "Apache-2.0");
  });

  test("starts node as `npm start` does", () => {
    const { scripts } = JSON.parse(readFileSync(join(repository, "package.json"), "utf8")) as {
      scripts: { start: string };
    };
    assert.equal(scripts.start, `exec ${[...config.Entrypoint, ...config.Cmd].join(" ")}`);
  });

  test("has neither a shell nor a package manager, and nothing for development, of the simulator or of the demo", () => {
    const programs = entries().filter((entry) => entry.isFile() && entry.parentPath.endsWith("/bin"));
    assert.deepEqual(
      programs.filter(({ parentPath }) => !parentPath.includes("node_modules")).map(({ name }) => name),
      ["node"],
    );
    assert.equal(existsSync(join(root, "bin")), false);
    for (const name of ["typescript", "@biomejs", "node", "npm"]) {
      assert.equal(existsSync(join(root, "parley/node_modules", name)), false, name);
    }
    const packaged = entries().filter(({ parentPath }) => parentPath.includes("/node_modules"));
    assert.deepEqual(
      packaged.filter(({ name }) => /\.(?:[cm]?ts|map)$/.test(name)),
      [],
    );
    for (const name of ["simulator", "demo", "client"]) assert.equal(existsSync(join(root, "parley/src", name)), false);
  });

  test("belongs to root, and can be written by nobody else", () => {
    for (const { name, parentPath } of entries()) {
      const { uid, gid, mode } = lstatSync(join(parentPath, name));
      const isLink = (mode & 0o170000) === 0o120000;
      assert.ok(uid === 0 && gid === 0 && (isLink || (mode & 0o022) === 0), join(parentPath, name));
    }
  });

  test("has its bill of materials, with Node in it", () => {
    const { version } = JSON.parse(readFileSync(join(repository, "node_modules/node/package.json"), "utf8"));
    assertBill(readFileSync(join(root, "parley/sbom.cdx.json"), "utf8"), `node@${version}`);
  });

  test("tells its size", (t) => {
    const size = (path: string) =>
      Number(execFileSync("du", ["-sk", join(root, path)], { encoding: "utf8" }).split("\t")[0]);
    const parts = ["", "usr/local/bin/node", "parley/node_modules", "parley/src", "parley/gen"];
    t.diagnostic(parts.map((path) => `/${path}: ${(size(path) / 1_024).toFixed(1)} MiB`).join(", "));
  });

  test("runs without privileges and without writing, answers calls, and ends in order when it is told to", async () => {
    await using container = start();
    const { port } = await container.line("listening");
    const client = createClient(ChatService, createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}` }));
    assert.equal((await client.chat(chat, options)).content.length, 1);
    let last: string | undefined;
    for await (const { event } of client.streamChat({ chat }, options)) last = event.case;
    assert.equal(last, "messageStop");
    container.signal("SIGTERM");
    assert.equal(await container.exit, 0, container.output());
    assert.doesNotMatch(container.output(), /EROFS|EACCES|sk-test/);
  });

  test("finds names, and sends telemetry without a warning", async () => {
    const { host } = new URL(simulator.url);
    const sent: string[] = [];
    const collector = createHttpServer((request, response) => {
      sent.push(request.url ?? "");
      request.resume().on("end", () => response.end());
    });
    await once(collector.listen(0, "127.0.0.1"), "listening");
    const { port: collectorPort } = collector.address() as AddressInfo;
    await using container = start({
      ANTHROPIC_BASE_URL: `http://localhost:${host.split(":")[1]}`,
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://localhost:${collectorPort}`,
    });
    const { port } = await container.line("listening");
    const client = createClient(ChatService, createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}` }));
    assert.equal((await client.chat(chat, options)).content.length, 1);
    container.signal("SIGTERM");
    assert.equal(await container.exit, 0);
    collector.close();
    assert.deepEqual([...new Set(sent)].sort(), ["/v1/metrics", "/v1/traces"]);
    assert.doesNotMatch(container.output(), /"level":"(?:warn|error)"/);
  });

  test("ends at once at a second signal", async () => {
    await using silent = await createSimulator({ script: { steps: [{ gate: "never" }] } });
    await using container = start({ ANTHROPIC_BASE_URL: silent.url });
    const { port } = await container.line("listening");
    const client = createClient(ChatService, createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}` }));
    const call = client.chat(chat, options).catch(() => {});
    await silent.nextRequest();
    container.signal("SIGTERM");
    await container.line("shutting down");
    container.signal("SIGTERM");
    assert.equal(await container.exit, 1);
    await call;
  });
});
