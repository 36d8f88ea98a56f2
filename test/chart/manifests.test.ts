import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { parseAllDocuments, stringify } from "yaml";
import { missing } from "../observe/prometheus.ts";
import { CHART, DEFINITIONS, HELM, missingTools, VALIDATOR } from "./tools.ts";

const values = join(import.meta.dirname, "values");
/** The oldest that Chart.yaml allows, and the one whose rules the validator has. */
const KUBERNETES = ["1.30.0", "1.35.0"];

const run = promisify(execFile);

async function render(file: string, kubernetes: string): Promise<string> {
  const args = ["--namespace", "ai", "--kube-version", kubernetes, "--values", join(values, file)];
  return (await run(HELM, ["template", "parley", CHART, ...args])).stdout;
}

/** Lines about problems, none if there are none. */
function problemsOf(files: readonly string[]): readonly string[] {
  const { stdout, stderr, status } = spawnSync(VALIDATOR, ["-crds", DEFINITIONS, ...files], { encoding: "utf8" });
  assert.equal(stderr, "");
  const lines = stdout.trimEnd().split("\n");
  assert.equal(status, lines.length > 1 ? 1 : 0);
  return lines.slice(0, -1);
}

describe("with each file of values, the chart", { skip: missingTools, timeout: 120_000 }, () => {
  const files = missingTools === false ? readdirSync(values) : [];
  const folder = mkdtempSync(join(tmpdir(), "parley-chart-"));
  after(() => rmSync(folder, { recursive: true }));

  test("is tried with 25 and more", () => {
    assert.ok(files.length >= 25, `there are ${files.length}`);
  });

  test("passes helm lint --strict", async () => {
    for (const file of files) await run(HELM, ["lint", "--strict", CHART, "--values", join(values, file)]);
  });

  for (const kubernetes of KUBERNETES) {
    test(`renders for Kubernetes ${kubernetes} what its API server would take, in pods that are restricted`, async () => {
      const rendered: string[] = [];
      for (const file of files) {
        const name = join(folder, `${kubernetes}-${file}`);
        writeFileSync(name, await render(file, kubernetes));
        rendered.push(name);
      }
      assert.deepEqual(problemsOf(rendered), []);
    });
  }

  test("renders rules that Prometheus takes, with labels of all alerts", { skip: missing("promtool") }, async () => {
    const documents = parseAllDocuments(await render("monitoring.yaml", "1.35.0"));
    const rule = documents.map((document) => document.toJS()).find((object) => object?.kind === "PrometheusRule");
    const file = join(folder, "rules.yaml");
    writeFileSync(file, stringify(rule.spec));
    await run("promtool", ["check", "rules", file]);
  });

  test("makes no name longer than Kubernetes takes, whatever release and chart are called", async () => {
    const long = "a".repeat(53);
    const args = ["--set", `nameOverride=${"b".repeat(63)}`, "--values", join(values, "everything.yaml")];
    const name = join(folder, "long-names.yaml");
    writeFileSync(name, (await run(HELM, ["template", long, CHART, ...args])).stdout);
    assert.deepEqual(problemsOf([name]), []);
  });

  test("takes releases and namespaces whose names are numbers", async () => {
    const args = ["--namespace", "456", "--values", join(values, "texts-like-numbers.yaml")];
    const name = join(folder, "numbers.yaml");
    writeFileSync(name, (await run(HELM, ["template", "123", CHART, ...args])).stdout);
    assert.deepEqual(problemsOf([name]), []);
  });
});

describe("the validator refuses", { skip: missingTools }, () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "parley-validator-"));
  });
  after(() => rmSync(folder, { recursive: true }));

  type Manifest = { kind: string; metadata: Record<string, unknown>; spec: Record<string, never> };
  const path = (object: unknown, names: readonly (string | number)[]): Record<string, unknown> =>
    names.reduce((at, name) => (at as Record<string, unknown>)[name], object) as Record<string, unknown>;
  const container = ["spec", "template", "spec", "containers", 0];

  const faults: Record<string, { kind: string; spoil: (object: Manifest) => unknown; expected: RegExp }> = {
    "a field that a Deployment does not have": {
      kind: "Deployment",
      spoil: (object) => Object.assign(path(object, container), { readOnly: true }),
      expected: /Deployment parley: .*unknown field "spec\.template\.spec\.containers\[0\]\.readOnly"/,
    },
    "a field that a custom kind does not have": {
      kind: "ServiceMonitor",
      spoil: (object) => Object.assign(path(object, ["spec", "endpoints", 0]), { intervall: "1s" }),
      expected: /ServiceMonitor parley: unknown field "spec\.endpoints\[0\]\.intervall"/,
    },
    "a field that metadata of a custom kind do not have": {
      kind: "GRPCRoute",
      spoil: (object) => Object.assign(object.metadata, { label: {} }),
      expected: /GRPCRoute parley: .*unknown field "label"/,
    },
    "a value of another type": {
      kind: "Service",
      spoil: (object) => Object.assign(path(object, ["spec", "ports", 0]), { port: "8080" }),
      expected: /Service parley.*: .*cannot unmarshal string/,
    },
    "a value that a custom kind does not take": {
      kind: "ScaledObject",
      spoil: (object) => Object.assign(object.spec, { minReplicaCount: "two" }),
      expected: /ScaledObject parley: spec\.minReplicaCount: Invalid value/,
    },
    "what a rule of a custom kind forbids": {
      kind: "GRPCRoute",
      spoil: (object) => delete path(object, ["spec", "rules", 0, "backendRefs", 0]).port,
      expected: /GRPCRoute parley: .*Must have port for Service reference/,
    },
    "a label that is none": {
      kind: "ConfigMap",
      spoil: (object) => Object.assign(object.metadata, { labels: { "a b": "c" } }),
      expected: /ConfigMap parley.*: metadata\.labels/,
    },
    "a name of a custom kind that is none": {
      kind: "ServiceMonitor",
      spoil: (object) => Object.assign(object.metadata, { name: "Not_A Name" }),
      expected: /ServiceMonitor Not_A Name: metadata\.name: Invalid value/,
    },
    "a kind that is not known": {
      kind: "Service",
      spoil: (object) => Object.assign(object, { kind: "Servise" }),
      expected: /Servise parley.*: no kind "Servise" is registered/,
    },
    "a container that may get privileges": {
      kind: "Deployment",
      spoil: (object) => delete path(object, [...container, "securityContext"]).allowPrivilegeEscalation,
      expected: /Deployment parley: Pod Security restricted: allowPrivilegeEscalation/,
    },
    "a container that may be root": {
      kind: "Deployment",
      spoil: (object) => delete path(object, ["spec", "template", "spec", "securityContext"]).runAsNonRoot,
      expected: /Deployment parley: Pod Security restricted: runAsNonRoot/,
    },
  };
  for (const [name, { kind, spoil, expected }] of Object.entries(faults)) {
    test(name, async () => {
      const values = kind === "ScaledObject" ? "keda.yaml" : "everything.yaml";
      const documents = parseAllDocuments(await render(values, "1.35.0")).map(
        (document) => document.toJS() as Manifest,
      );
      const object = documents.find((document) => document?.kind === kind);
      assert.ok(object !== undefined);
      spoil(object);
      const file = join(folder, "spoilt.yaml");
      writeFileSync(file, stringify(object));
      const problems = problemsOf([file]);
      assert.match(problems.join("\n"), expected);
    });
  }

  test("a name that is there twice", () => {
    const file = join(folder, "twice.yaml");
    writeFileSync(file, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\ndata: {b: d}\n");
    assert.match(problemsOf([file]).join("\n"), /key "data" already set/);
  });
});
