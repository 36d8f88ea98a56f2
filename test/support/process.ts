import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { stringify } from "yaml";
import manifest from "../../package.json" with { type: "json" };

const root = join(import.meta.dirname, "../..");

export interface RunningProcess extends AsyncDisposable {
  readonly child: ChildProcess;
  /** All lines of standard output that are JSON. */
  readonly logs: readonly Record<string, unknown>[];
  /** All of standard error. */
  readonly errors: () => string;
  /** Resolves with the first line, past or to come, that fits. */
  line(fits: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  /** Resolves with the exit code, or the signal that ended the process. */
  readonly exit: Promise<number | NodeJS.Signals>;
}

/** Starts a script of the repository as a process of its own, with nothing of this one's environment but PATH. */
export function startProcess(script: string, env: NodeJS.Dict<string>): RunningProcess {
  return startCommand(process.execPath, [script], env);
}

/** Starts a command in the root of the repository, with nothing of this process's environment but PATH. */
export function startCommand(command: string, args: readonly string[], env: NodeJS.Dict<string>): RunningProcess {
  const child = spawn(command, args, {
    cwd: root,
    env: { PATH: process.env.PATH, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const logs: Record<string, unknown>[] = [];
  const waiting = new Set<(line: Record<string, unknown>) => void>();
  createInterface({ input: child.stdout }).on("line", (text) => {
    if (!text.startsWith("{")) return;
    const line = JSON.parse(text) as Record<string, unknown>;
    logs.push(line);
    for (const offer of [...waiting]) offer(line);
  });
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const exit = once(child, "close").then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  return {
    child,
    logs,
    errors: () => errors,
    exit,
    line(fits) {
      const found = logs.find(fits);
      if (found !== undefined) return Promise.resolve(found);
      return new Promise((resolve, reject) => {
        const offer = (line: Record<string, unknown>) => {
          if (!fits(line)) return;
          waiting.delete(offer);
          resolve(line);
        };
        waiting.add(offer);
        exit.then((code) => reject(new Error(`the process has ended with ${code}: ${errors}`)));
      });
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exit;
    },
  };
}

export interface ServiceProcess extends RunningProcess {
  readonly url: string;
  readonly port: number;
  readonly adminUrl: string;
  /** Resident memory in bytes. */
  residentBytes(): number;
}

/** A file with a configuration, for `PARLEY_CONFIG`. */
export function configFile(config: object): { readonly path: string } & Disposable {
  const folder = mkdtempSync(join(tmpdir(), "parley-config-"));
  const path = join(folder, "parley.yaml");
  writeFileSync(path, stringify(config));
  return { path, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

/** Not every Linux has `ps`, and nothing but Linux has `/proc`. */
function residentKilobytes(pid: number | undefined): number {
  if (process.platform !== "linux") return Number(execFileSync("ps", ["-o", "rss=", "-p", String(pid)]));
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

/** What `npm start` gives to Node. */
const START_ARGUMENTS = manifest.scripts.start.replace("exec node ", "").split(" ");

/** Starts the service as a process of its own, and waits until it listens. */
export async function startServiceProcess(env: NodeJS.Dict<string>, config: object = {}): Promise<ServiceProcess> {
  using file = configFile(config);
  const defaults = { PORT: "0", ADMIN_PORT: "0", ANTHROPIC_API_KEY: "sk-test", PARLEY_CONFIG: file.path };
  const running = startCommand(process.execPath, START_ARGUMENTS, { ...defaults, ...env });
  const line = await running.line(({ msg }) => msg === "listening");
  const port = Number(line.port);
  return {
    ...running,
    port,
    url: `http://127.0.0.1:${port}`,
    adminUrl: `http://127.0.0.1:${line.admin_port}`,
    residentBytes: () => residentKilobytes(running.child.pid) * 1_024,
  };
}
