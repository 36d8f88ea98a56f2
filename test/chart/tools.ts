import { existsSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dirname, "../../node_modules/.chart");

/** Helm, as test/chart/tools/install.ts has put it there. */
export const HELM = join(folder, "bin/helm");
/** What holds manifests to Kubernetes: test/chart/validator. */
export const VALIDATOR = join(folder, "bin/validator");
/** Folder with the CustomResourceDefinitions of all custom kinds that the chart has. */
export const DEFINITIONS = join(folder, "definitions");

/** The chart itself. */
export const CHART = join(import.meta.dirname, "../../helm/parley");

/** Why tests of the chart must be skipped; false: all is there. With CI_TOOLS=1, which `.ci/run` sets, it has to be. */
export const missingTools: string | false =
  process.env.CI_TOOLS === "1" || existsSync(DEFINITIONS)
    ? false
    : "Helm and the validator are not there: node test/chart/tools/install.ts puts them into node_modules";
