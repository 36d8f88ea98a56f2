import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { parse } from "yaml";

const chart = join(import.meta.dirname, "../../helm/parley");

/** Values with which the chart renders an Ingress, and no more than it asks for. */
const VALUES = ["ingress.enabled=true", "ingress.className=nginx", "claude.existingSecret=claude"];

/** Why tests that need Helm must be skipped; false: it is there. With CI_TOOLS=1, which `.ci/run` sets, it has to be. */
export function missingHelm(): string | false {
  if (process.env.CI_TOOLS === "1" || spawnSync("helm", ["version"]).error === undefined) return false;
  return "helm is not installed";
}

/** The annotations of the Ingress that the chart renders. */
export async function ingressAnnotations(): Promise<Record<string, string>> {
  const template = ["template", "parley", chart, "--show-only", "templates/ingress.yaml"];
  const { stdout } = await promisify(execFile)("helm", [...template, ...VALUES.flatMap((value) => ["--set", value])]);
  return (parse(stdout) as { metadata: { annotations: Record<string, string> } }).metadata.annotations;
}
