import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseAllDocuments, stringify } from "yaml";
import { CHART, HELM } from "./tools.ts";

const run = promisify(execFile);

/** The namespace and the name of what is rendered. */
const NAMESPACE = "shop";
const RELEASE = "parley";

const values = join(import.meta.dirname, "values");
/** The file with the values of a deployment as there could be. */
export const valuesFile = (name: string) => join(values, `${name}.yaml`);
/** The names of all of them. */
export const valuesNames: readonly string[] = readdirSync(values).map((name) => name.replace(".yaml", ""));

/** An object of Kubernetes. */
// biome-ignore lint/suspicious/noExplicitAny: what an object has in it is what tests look at.
export type Manifest = any;

export class Manifests {
  readonly all: readonly Manifest[];

  /** @param text YAML, in which Kubernetes takes numbers such as 0440 as YAML 1.1 does. */
  constructor(text: string) {
    const documents = parseAllDocuments(text, { version: "1.1", uniqueKeys: true });
    this.all = [...documents].map((document) => {
      if (document.errors[0] !== undefined) throw document.errors[0];
      return document.toJS();
    });
  }

  /** All objects of a kind. */
  of(kind: string): readonly Manifest[] {
    return this.all.filter((manifest) => manifest.kind === kind);
  }

  /** The object of a kind whose name ends with `ending`: the only one, where none is given. */
  one(kind: string, ending = ""): Manifest {
    const found = this.of(kind).filter(({ metadata }) => metadata.name.endsWith(ending));
    if (found.length !== 1) throw new Error(`there are ${found.length} objects of kind ${kind} ending in "${ending}"`);
    return found[0];
  }

  get deployment(): Manifest {
    return this.one("Deployment");
  }

  /** The pods of the deployment. */
  get pod(): Manifest {
    return this.deployment.spec.template.spec;
  }

  /** Their only container. */
  get container(): Manifest {
    return this.pod.containers[0];
  }

  /** The configuration file. */
  get configText(): string {
    return this.all.find(({ data }) => data?.["parley.yaml"] !== undefined).data["parley.yaml"];
  }
}

/** With this credential, all other values can be as they are. */
const CREDENTIAL = { claude: { existingSecret: "claude" } };

/**
 * Renders the chart with helm.
 *
 * @param given the path of a file, or values: these have a credential, unless they say something of `claude`.
 * @throws {Error} with what helm says, when it refuses.
 */
export async function render(given: object | string = {}): Promise<Manifests> {
  const file = typeof given === "string" ? given : "-";
  const args = ["template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", file];
  const rendering = run(HELM, args, { maxBuffer: 16 * 1_024 * 1_024 });
  rendering.child.stdin?.end(typeof given === "string" ? "" : stringify({ ...CREDENTIAL, ...given }));
  return new Manifests((await rendering).stdout);
}

/** What helm says after it has installed the chart with values, which are those of `render`. */
export async function notes(given: object = {}): Promise<string> {
  const args = ["install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client", "--values", "-"];
  const installing = run(HELM, args, { maxBuffer: 16 * 1_024 * 1_024 });
  installing.child.stdin?.end(stringify({ ...CREDENTIAL, ...given }));
  const { stdout } = await installing;
  return stdout.slice(stdout.indexOf("\nNOTES:\n") + "\nNOTES:\n".length);
}

/** Why helm refuses values, a problem each. */
export async function refusal(given: object): Promise<readonly string[]> {
  const message = await render(given).then(
    () => "",
    (error: { stderr: string }) => error.stderr,
  );
  return message.split("\n").flatMap((line) => (line.startsWith("- ") ? [line.slice(2)] : []));
}
