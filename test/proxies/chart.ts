import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { parse } from "yaml";
import { CHART, HELM } from "../chart/tools.ts";

/** The annotations of the Ingress that the chart renders. */
export async function ingressAnnotations(): Promise<Record<string, string>> {
  const values = ["ingress.enabled=true", "ingress.hosts={parley.example}", "claude.existingSecret=claude"];
  const args = ["--show-only", "templates/ingress.yaml", ...values.flatMap((value) => ["--set", value])];
  const { stdout } = await promisify(execFile)(HELM, ["template", "parley", CHART, ...args]);
  return (parse(stdout) as { metadata: { annotations: Record<string, string> } }).metadata.annotations;
}
