import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** What an image says of how it is run (OCI image specification). */
export interface ImageConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly WorkingDir: string;
  readonly Labels: Readonly<Record<string, string>>;
  readonly ExposedPorts: Readonly<Record<string, object>>;
}

/** A process that runs as that of a container does. */
export interface Container extends AsyncDisposable {
  /** Resolves with the first line of its log, past or to come, that begins so. */
  line(msg: string): Promise<Record<string, unknown>>;
  /** Standard output and standard error. */
  readonly output: () => string;
  /** What it has ended with. */
  readonly exit: Promise<number>;
  signal(name: NodeJS.Signals): void;
}

/**
 * What a container runtime does, and then becomes the process of the container, the first one of its own: the file system of
 * the image, all of it read-only, with /proc, the names of hosts, and a folder of secrets; no user but that of the image.
 */
const RUN = `
set -eu
root=$1 at=$2 secrets=$3
shift 3
mount --make-rprivate /
mount -t tmpfs none "$at"
for entry in $(ls "$root" | grep -vx etc); do
  mkdir "$at/$entry"
  mount --bind "$root/$entry" "$at/$entry"
  mount -o remount,ro,bind "$at/$entry"
done
cp -R "$root/etc" "$at/etc"
cp /etc/hosts /etc/resolv.conf "$at/etc"
mkdir "$at/proc" "$at/secrets"
mount -t proc proc "$at/proc"
mount --bind "$secrets" "$at/secrets"
mount -o remount,ro "$at"
exec env -i "$@"
`;

/**
 * Runs what an image says is to be run.
 *
 * @param root the file system of the image.
 * @param secrets a folder, which is at /secrets there.
 * @param command instead of that of the image.
 */
export function runContainer(
  root: string,
  config: ImageConfig,
  secrets: string,
  env: Readonly<Record<string, string>>,
  command: readonly string[] = [...config.Entrypoint, ...config.Cmd],
): Container {
  const at = mkdtempSync(join(tmpdir(), "parley-container-"));
  const [user = "", group = ""] = config.User.split(":");
  const variables = [...config.Env, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
  const enter = [
    "/usr/bin/unshare",
    `--root=${at}`,
    `--wd=${config.WorkingDir}`,
    `--setgid=${group}`,
    `--setuid=${user}`,
  ];
  const isolated = ["--mount", "--pid", "--fork"];
  const setup = ["sh", "-c", RUN, "run", root, at, secrets];
  const child = spawn("unshare", [...isolated, ...setup, ...variables, ...enter, "--", ...command], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const logs: Record<string, unknown>[] = [];
  const waiting = new Set<(line: Record<string, unknown>) => void>();
  createInterface({ input: child.stdout }).on("line", (text) => {
    output += `${text}\n`;
    if (!text.startsWith("{")) return;
    const line = JSON.parse(text) as Record<string, unknown>;
    logs.push(line);
    for (const offer of [...waiting]) offer(line);
  });
  child.stderr.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const exit = once(child, "close").then(([code]) => {
    rmSync(at, { recursive: true });
    return code as number;
  });
  /** Sends a signal to process 1 of the container, if it is there. */
  const signal = (name: NodeJS.Signals) => {
    if (child.exitCode !== null) return;
    const first = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8"));
    if (first > 0) process.kill(first, name);
  };
  return {
    output: () => output,
    exit,
    line: (msg) =>
      new Promise((resolve, reject) => {
        const offer = (line: Record<string, unknown>) => {
          if (!String(line.msg).startsWith(msg)) return;
          waiting.delete(offer);
          resolve(line);
        };
        waiting.add(offer);
        for (const line of logs) offer(line);
        void exit.then((code) => reject(new Error(`the container has ended with ${code}: ${output}`)));
      }),
    signal,
    async [Symbol.asyncDispose]() {
      // It has changed its user, and would outlive its parent.
      signal("SIGKILL");
      await exit;
    },
  };
}
