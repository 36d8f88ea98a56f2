import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Usage } from "../probe.ts";

const probe = join(import.meta.dirname, "../probe.ts");

/** How a server is started. */
export interface ServerOptions {
  readonly args: readonly string[];
  readonly env: NodeJS.Dict<string>;
}

/** A server under test: a process of its own, on a processor of its own. */
export class ServerProcess implements AsyncDisposable {
  readonly port: number;
  readonly #child: ChildProcess;

  /** Starts a server, and resolves when its port answers. */
  static async start(toOptions: (port: number) => ServerOptions): Promise<ServerProcess> {
    const port = await freePort();
    const { args, env } = toOptions(port);
    const command = [process.execPath, "--expose-gc", "--import", probe, ...args];
    const [file = "", ...rest] = canPin() ? ["taskset", "-c", "0", ...command] : command;
    const child = spawn(file, rest, {
      env: { PATH: process.env.PATH, NODE_ENV: "production", ...env },
      stdio: ["ignore", "pipe", "inherit", "ipc"],
    });
    child.stdout?.resume();
    const server = new ServerProcess(child, port);
    await server.#answers();
    return server;
  }

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  /** @param collect whether garbage is collected first, and `memory` told. */
  async usage(collect = false): Promise<Usage> {
    this.#child.send({ collect });
    const [usage] = (await once(this.#child, "message")) as [Usage];
    return usage;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await once(this.#child, "close");
  }

  async #answers(): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const socket = connect(this.port, "127.0.0.1");
      const [answers] = await Promise.race([
        once(socket, "connect").then(() => [true]),
        once(socket, "close").then(() => [false]),
      ]).catch(() => [false]);
      socket.destroy();
      if (answers === true) return;
      if (this.#child.exitCode !== null || attempt > 200) throw new Error("a server does not start");
      await sleep(50);
    }
  }
}

/** Whether processes can be pinned to processors here: with the `taskset` of Linux, and two processors. */
export function canPin(): boolean {
  return availableParallelism() >= 2 && spawnSync("taskset", ["-c", "0", "true"]).status === 0;
}

/** Keeps this process off the processor that servers have. */
export function pinLoad(): void {
  if (canPin()) spawnSync("taskset", ["-a", "-p", "-c", "1", String(process.pid)]);
}

/** A port that nobody listens on at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
