import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { configFile, startCommand, startProcess } from "../support/process.ts";
import { createTlsFolder } from "../support/tls.ts";

const key = { ANTHROPIC_API_KEY: "sk-test", PORT: "0", ADMIN_PORT: "0" };

/** Starts the service, which cannot start, and returns what it says. */
async function complaintOf(env: NodeJS.Dict<string>): Promise<string> {
  await using service = startProcess("src/main.ts", env);
  assert.equal(await service.exit, 1);
  assert.ok(!service.logs.some(({ msg }) => msg === "listening"));
  return service.errors();
}

/** A port that is in use. */
async function portInUse() {
  const server = createServer().listen(0);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { port: String(port), [Symbol.dispose]: () => void server.close() };
}

test("npm start is the service itself, which a signal to it shuts down", async () => {
  using file = configFile({ server: { lameDuck: "0s" } });
  await using npm = startCommand("npm", ["start"], { ...key, PARLEY_CONFIG: file.path });
  await npm.line(({ msg }) => msg === "listening");
  npm.child.kill("SIGTERM");
  await npm.line(({ msg }) => msg === "shut down");
  assert.equal(await npm.exit, 0);
});

test("a signal that comes while the service is still being loaded is not lost", async () => {
  // Sends one as soon as there is a handler for it, and tells what is open by then.
  const early = `process.on("newListener", function once(name) {
    if (name !== "SIGTERM") return;
    process.off("newListener", once);
    process.stdout.write(JSON.stringify({ msg: "handled", open: process.getActiveResourcesInfo() }) + "\\n");
    queueMicrotask(() => process.kill(process.pid, "SIGTERM"));
  });`;
  const args = ["--import", `data:text/javascript,${encodeURIComponent(early)}`, "src/main.ts"];
  using file = configFile({ server: { lameDuck: "0s" } });
  await using service = startCommand(process.execPath, args, { ...key, PARLEY_CONFIG: file.path });
  const { open } = await service.line(({ msg }) => msg === "handled");
  assert.ok(!(open as string[]).includes("TCPServerWrap"));
  assert.equal(await service.exit, 0);
});

test("without a key the service does not start, and says what to do", async () => {
  const complaint = await complaintOf({ PORT: "0", ADMIN_PORT: "0" });
  assert.match(complaint, /^Parley cannot start:\n- .*ANTHROPIC_API_KEY.*npm run demo.*\n$/);
});

for (const [name, other] of [
  ["PORT", "ADMIN_PORT"],
  ["ADMIN_PORT", "PORT"],
] as const) {
  test(`on a ${name} that is in use the service does not start, and says which`, async () => {
    using used = await portInUse();
    const complaint = await complaintOf({ ...key, [name]: used.port, [other]: "0" });
    assert.match(complaint, new RegExp(`^Parley cannot start:\\n- cannot listen .*\\b${used.port}\\b.*${name}.*\\n$`));
    assert.match(complaint, /another process uses.*EADDRINUSE/);
  });
}

test("with a certificate and a key that do not fit together the service does not start, and says so", async () => {
  using folder = createTlsFolder();
  folder.putKey("renewed-server");
  using file = configFile({ server: { tls: folder.files } });
  const complaint = await complaintOf({ ...key, PARLEY_CONFIG: file.path });
  assert.match(complaint, /^Parley cannot start:\n- server\.tls: the files cannot be used: .*key values mismatch\n$/);
});

test("with a configuration that is wrong in several places the service says all of them", async () => {
  using file = configFile({ server: { drian: "1s", lameDuck: 5 } });
  const complaint = await complaintOf({ ...key, PORT: "http", PARLEY_CONFIG: file.path });
  assert.equal(complaint.split("\n- ").length, 4, complaint);
  assert.match(complaint, /- PORT must be /);
  assert.match(complaint, /- .*parley\.yaml:2: server\.drian is unknown\n/);
});
