import type { LoopObserver } from "../../src/agent/loop-observer.ts";
import type { RunObserver } from "../../src/runs/run-observer.ts";
import { passedTrace } from "./tool-trace.ts";

/** Observers that tell nobody. */
export const silentObserver: { readonly loop: LoopObserver; readonly runs: RunObserver } = {
  loop: {
    turnStarted: (_, trace) => ({ trace, ended() {} }),
    toolCallStarted: () => ({ trace: passedTrace(), run: (work) => work(), ended() {} }),
  },
  runs: {
    workStarted: (_, trace) => ({ trace, span: undefined, ended() {} }),
    ended() {},
  },
};
