import type { Meter, ObservableResult } from "@opentelemetry/api";
import type { ResponseHeader } from "../upstream/anthropic.ts";
import type { LabelValues } from "./label-values.ts";
import { attribute, metric } from "./names.ts";

const KINDS = ["requests", "tokens", "input-tokens", "output-tokens"] as const;

/**
 * Observes how much is left of Claude's rate limits, by the `anthropic-ratelimit-*` headers of its latest response. A limit
 * whose reset has passed since then is there again.
 *
 * @returns what is to be told of each response.
 */
export function observeRateLimits(meter: Meter, models: LabelValues): (header: ResponseHeader, model: string) => void {
  // They are read when somebody asks: to do so for each response would cost more than all other metrics of it.
  const latest = new Map<string, ResponseHeader>();
  const gauge = (name: string, description: string, value: (header: ResponseHeader, kind: string) => number) =>
    meter.createObservableGauge(name, { description, unit: "1" }).addCallback((result: ObservableResult) => {
      for (const [model, header] of latest) {
        for (const kind of KINDS) {
          const number = value(header, kind);
          const labels = { [attribute.requestModel]: model, [attribute.rateLimit]: kind.replace("-", "_") };
          if (Number.isFinite(number)) result.observe(number, labels);
        }
      }
    });
  gauge(metric.claudeRateLimit, "Claude's limits for a minute, by its headers.", limitOf);
  gauge(metric.claudeRateLimitRemaining, "What is left of them.", (header, kind) => {
    const resetAt = Date.parse(header(`anthropic-ratelimit-${kind}-reset`) ?? "");
    return Date.now() >= resetAt ? limitOf(header, kind) : numberOf(header, `anthropic-ratelimit-${kind}-remaining`);
  });
  return (header, model) => {
    // Of a model that is not known yet the limit would stay as it is, under the name of all others.
    if (models.isKnown(model)) latest.set(model, header);
  };
}

function limitOf(header: ResponseHeader, kind: string): number {
  return numberOf(header, `anthropic-ratelimit-${kind}-limit`);
}

function numberOf(header: ResponseHeader, name: string): number {
  return Number(header(name) ?? Number.NaN);
}
