import type { LoopObserver } from "./agent/loop-observer.ts";
import type { PriceTable } from "./agent/prices.ts";
import type { Config } from "./config/config.ts";
import type { CallObserver } from "./listen/dispatcher.ts";
import { type Active, observeActive } from "./observe/active-metrics.ts";
import { createInstruments } from "./observe/instruments.ts";
import { createLabels } from "./observe/label-values.ts";
import type { Logger } from "./observe/logger.ts";
import { observeCalls } from "./observe/observed-calls.ts";
import { observeLoop, observeRuns } from "./observe/observed-runs.ts";
import { observeUpstream } from "./observe/observed-upstream.ts";
import { observeRateLimits } from "./observe/rate-limits.ts";
import type { Telemetry } from "./observe/telemetry.ts";
import { Tracing } from "./observe/tracing.ts";
import type { RunObserver } from "./runs/run-observer.ts";
import type { ResponseHeader } from "./upstream/anthropic.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** Those who are told of what happens, for traces, metrics and logs. */
export interface Observers {
  readonly calls: CallObserver;
  readonly runs: RunObserver;
  readonly loop: LoopObserver;
  /** Is told of the header of each response of Claude's. */
  readonly onHeader: (header: ResponseHeader, model: string) => void;
  /** The same upstream, observed. */
  upstream(upstream: Upstream): Upstream;
  /** Observes what there is at any moment. */
  active(active: Active): void;
}

export function createObservers(config: Config, telemetry: Telemetry, prices: PriceTable, logger: Logger): Observers {
  const meter = telemetry.meterProvider.getMeter("parley");
  const instruments = createInstruments(meter);
  const tracing = new Tracing(telemetry);
  const {
    claude,
    telemetry: { captureContent },
  } = config;
  const labels = createLabels([claude.model, ...claude.fallbackModels, ...prices.models]);
  const forRuns = { instruments, tracing, captureContent, labels, prices, logger };
  return {
    calls: observeCalls({ instruments, tracing, labels, logger }),
    runs: observeRuns(forRuns),
    loop: observeLoop(forRuns),
    onHeader: observeRateLimits(meter, labels.models),
    upstream: (upstream) =>
      observeUpstream(upstream, {
        instruments,
        tracing,
        prices,
        server: new URL(config.baseUrl),
        captureContent,
        labels,
      }),
    active: (active) => observeActive(meter, active),
  };
}
