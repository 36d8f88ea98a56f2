import type { Meter } from "@opentelemetry/api";
import { RunState } from "../gen/parley/v1/agent_service_pb.js";
import type { LoopObserver } from "./agent/loop-observer.ts";
import type { PriceTable } from "./agent/prices.ts";
import type { Config } from "./config/config.ts";
import type { CallObserver } from "./listen/dispatcher.ts";
import { logRun } from "./observe/call-log.ts";
import { createInstruments } from "./observe/instruments.ts";
import { LabelValues } from "./observe/label-values.ts";
import type { Logger } from "./observe/logger.ts";
import { attribute, metric } from "./observe/names.ts";
import { observeCalls } from "./observe/observed-calls.ts";
import { observeLoop, observeRuns } from "./observe/observed-runs.ts";
import { observeUpstream } from "./observe/observed-upstream.ts";
import { observeRateLimits } from "./observe/rate-limits.ts";
import type { Telemetry } from "./observe/telemetry.ts";
import { Tracing } from "./observe/tracing.ts";
import type { RunObserver } from "./runs/run-observer.ts";
import type { RunRecord } from "./runs/run-record.ts";
import type { ResponseHeader } from "./upstream/anthropic.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** The most values of each label that come from outside. */
const MAX_VALUES = { models: 100, callers: 200, tools: 500, reasons: 100, stopReasons: 20 };

/** Those who are told of what happens, for traces, metrics and logs. */
export interface Observers {
  readonly calls: CallObserver;
  readonly runs: RunObserver;
  readonly loop: LoopObserver;
  /** Is told of the header of each response of Claude's. */
  readonly onHeader: (header: ResponseHeader, model: string) => void;
  /** The same upstream, observed. */
  upstream(upstream: Upstream): Upstream;
  /** Observes what is there at any moment. */
  watch(now: Watched): void;
}

/** What there is at the moment. */
export interface Watched {
  /** Connections of callers that are open. */
  readonly connections: () => number;
  /** Runs that have not ended. */
  readonly runs: () => readonly RunRecord[];
}

export function createObservers(config: Config, telemetry: Telemetry, prices: PriceTable, logger: Logger): Observers {
  const meter = telemetry.meterProvider.getMeter("parley");
  const instruments = createInstruments(meter);
  const tracing = new Tracing(telemetry);
  const { claude } = config;
  const { captureContent } = config.telemetry;
  const models = new LabelValues({
    known: [claude.model, ...claude.fallbackModels, ...prices.models],
    max: MAX_VALUES.models,
  });
  const callers = new LabelValues({ known: ["anonymous"], max: MAX_VALUES.callers });
  const tools = new LabelValues({ max: MAX_VALUES.tools });
  const reasons = new LabelValues({ max: MAX_VALUES.reasons });
  const stopReasons = new LabelValues({ max: MAX_VALUES.stopReasons });
  const forRuns = {
    instruments,
    tracing,
    captureContent,
    tools,
    onEnd: (record: RunRecord) => logRun(logger, record),
  };
  return {
    calls: observeCalls({ instruments, tracing, logger, reasons }),
    runs: observeRuns(forRuns),
    loop: observeLoop(forRuns),
    onHeader: observeRateLimits(meter, models),
    upstream: (upstream) =>
      observeUpstream(upstream, {
        instruments,
        tracing,
        prices,
        server: new URL(config.baseUrl),
        captureContent,
        models,
        callers,
        reasons,
        stopReasons,
      }),
    watch: (now) => watch(meter, now),
  };
}

/** The states that a run can be in before it has ended. */
const LIVE_STATES = [RunState.QUEUED, RunState.RUNNING, RunState.REQUIRES_ACTION, RunState.CANCELLING];

function watch(meter: Meter, { connections, runs }: Watched): void {
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
