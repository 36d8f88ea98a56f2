/**
 * Writes the software bill of materials of what the service runs on, in CycloneDX, to standard output.
 *
 * `npm sbom --omit=dev` leaves out what development needs, too, although the service does, as npm 11 has it. So npm is given a
 * package that has nothing for development.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const { devDependencies: _, ...manifest } = readJson("package.json");
const { packages, ...lock } = readJson("package-lock.json") as { packages: Record<string, { dev?: boolean }> };
const needed = Object.fromEntries(Object.entries(packages).filter(([path, { dev }]) => path !== "" && dev !== true));

const folder = mkdtempSync(join(tmpdir(), "parley-sbom-"));
try {
  // npm calls it what its folder is called.
  const project = join(folder, "parley");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), JSON.stringify(manifest));
  writeFileSync(join(project, "package-lock.json"), JSON.stringify({ ...lock, packages: { "": manifest, ...needed } }));
  const args = ["sbom", "--package-lock-only", "--sbom-format=cyclonedx", "--sbom-type=application"];
  process.stdout.write(execFileSync("npm", args, { cwd: project, stdio: ["ignore", "pipe", "inherit"] }));
} finally {
  rmSync(folder, { recursive: true });
}

function readJson(name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(root, name), "utf8")) as Record<string, unknown>;
}
