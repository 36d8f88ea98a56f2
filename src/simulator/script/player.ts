import { MESSAGES_PATH, type Script, type Step } from "./format.ts";
import { createGates, type Gates } from "./gates.ts";
import { findMismatches, type RequestFacts } from "./matching.ts";

/** What a script says about a request. */
export type Cue =
  | { readonly kind: "none" }
  | { readonly kind: "unexpected"; readonly message: string }
  | { readonly kind: "step"; readonly step: Step };

/** Walks through a script and keeps account of what was not as it says. */
export interface ScriptPlayer {
  readonly gates: Gates;
  /** Finds the step for a request, without using it up. An unexpected request is noted. */
  cue(request: RequestFacts): Cue;
  /** Uses a step once. */
  use(step: Step): void;
  /** Unexpected requests and unused steps, in words. */
  violations(): string[];
}

/** The requests that a script is about; a step is for others only where it names their path. */
const MAIN = { method: "POST", path: MESSAGES_PATH } as const;

/** A player at the first step; without a script it has nothing to say. */
export function createScriptPlayer(script: Script | undefined): ScriptPlayer {
  const steps = script?.steps ?? [];
  const left = new Map(steps.map((step) => [step, step.times ?? 1]));
  const unexpected: string[] = [];
  let requests = 0;

  const nameOf = (step: Step) => `step ${steps.indexOf(step) + 1}${step.name === undefined ? "" : ` (${step.name})`}`;
  const isLeft = (step: Step) => (left.get(step) ?? 0) > 0;

  function find(request: RequestFacts): Cue | { readonly problems: string[] } {
    const isMain = request.method === MAIN.method && request.path === MAIN.path;
    const open = steps.filter(isLeft);
    const problems: string[] = [];
    for (const step of script?.anyOrder ? open : open.slice(0, 1)) {
      const expected = step.expect?.path === undefined ? { ...MAIN, ...step.expect } : step.expect;
      const mismatches = findMismatches(expected, request);
      if (mismatches.length === 0) return { kind: "step", step };
      problems.push(`${nameOf(step)} does not match: ${mismatches.join("; ")}`);
    }
    if (!isMain || !script) return { kind: "none" };
    if (open.length === 0 && script.afterwards === "converse") return { kind: "none" };
    return { problems: open.length === 0 ? [`all ${steps.length} steps were used`] : problems };
  }

  return {
    gates: createGates(),
    cue(request) {
      requests++;
      const found = find(request);
      if (!("problems" in found)) return found;
      const message = `Unexpected request ${requests}, ${request.method} ${request.path}: ${found.problems.join(". ")}`;
      unexpected.push(message);
      return { kind: "unexpected", message };
    },
    use(step) {
      left.set(step, (left.get(step) ?? 0) - 1);
    },
    violations() {
      const unused = steps.filter(isLeft).map((step) => {
        const times = step.times ?? 1;
        return `${nameOf(step)} was used ${times - (left.get(step) ?? 0)} of ${times} times`;
      });
      return [...unexpected, ...unused];
    },
  };
}
