import type { Meter } from "@opentelemetry/api";
import { RunState } from "../../gen/parley/v1/agent_service_pb.js";
import type { RunRecord } from "../runs/run-record.ts";
import { attribute, metric } from "./names.ts";

/** What there is at the moment. */
export interface Active {
  /** Connections of callers that are open. */
  readonly connections: () => number;
  /** Runs that have not ended. */
  readonly runs: () => readonly RunRecord[];
}

/** The states that a run can be in before it has ended. */
const LIVE_STATES = [RunState.QUEUED, RunState.RUNNING, RunState.REQUIRES_ACTION, RunState.CANCELLING];

/** Observes what there is at the moment that somebody asks. */
export function observeActive(meter: Meter, { connections, runs }: Active): void {
  meter
    .createObservableGauge(metric.connections, {
      description: "Connections of callers that are open.",
      unit: "{connection}",
    })
    .addCallback((result) => result.observe(connections()));
  meter
    .createObservableGauge(metric.runs, { description: "Runs that have not ended, by state.", unit: "{run}" })
    .addCallback((result) => {
      const states = runs().map(({ run }) => run.state);
      for (const state of LIVE_STATES) {
        const number = states.filter((one) => one === state).length;
        result.observe(number, { [attribute.runState]: RunState[state] });
      }
    });
}
