import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../../..");
const folder = join(root, "node_modules/.bench/portkey");
const script = join(folder, "node_modules/@portkey-ai/gateway/build/start-server.js");

/**
 * Installs Portkey's gateway from npm, as its own lock file says, where nothing but the benchmark sees it. Returns the script
 * that starts it.
 */
export function installPortkey(): string {
  if (existsSync(script)) return script;
  mkdirSync(folder, { recursive: true });
  for (const file of ["package.json", "package-lock.json"])
    copyFileSync(join(import.meta.dirname, "portkey", file), join(folder, file));
  execFileSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: folder, stdio: "inherit" });
  return script;
}
