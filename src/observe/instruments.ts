import type { Attributes, Meter } from "@opentelemetry/api";
import { attribute, COUNT_BUCKETS, DURATION_BUCKETS, GAP_BUCKETS, metric, OVERHEAD_BUCKETS } from "./names.ts";

/** What is counted and measured of calls, requests to Claude, runs and tools. Their labels are told in README.md. */
export type Instruments = ReturnType<typeof createInstruments>;

/** Alerts that are counted from 0 on: the first of them must be seen as an increase. */
const ALERTS = ["credential_rejected", "credential_unavailable", "billing_hold", "spend_limit_reached"];

export function createInstruments(meter: Meter) {
  const seconds = (name: string, description: string, explicitBucketBoundaries = DURATION_BUCKETS) =>
    meter.createHistogram<Attributes>(name, { description, unit: "s", advice: { explicitBucketBoundaries } });
  const count = (name: string, unit: string, description: string) => meter.createCounter(name, { description, unit });
  const active = (name: string, unit: string, description: string) =>
    meter.createUpDownCounter(name, { description, unit });
  const perRun = (name: string, unit: string, description: string) =>
    meter.createHistogram(name, { description, unit, advice: { explicitBucketBoundaries: COUNT_BUCKETS } });

  const alerts = count(metric.alerts, "{alert}", "Failures that nobody but the operator can mend.");
  for (const alert of ALERTS) alerts.add(0, { [attribute.alert]: alert });
  return {
    alerts,
    rpcDuration: seconds(metric.rpcDuration, "Time from the first byte of a call to the last of its answer."),
    rpcActive: active(metric.rpcActive, "{call}", "Calls in progress."),
    rpcMessages: count(metric.rpcMessages, "{message}", "Messages of calls that have ended."),
    rpcFirstMessage: seconds(
      metric.rpcFirstMessage,
      "Time from the first byte of a call to the first part of its answer.",
    ),
    rpcErrors: count(metric.rpcErrors, "{call}", "Calls that failed, by reason."),
    rpcOverhead: seconds(
      metric.rpcOverhead,
      "Time that Parley adds to a call of one turn: before the request to Claude, and after the end of the answer.",
      OVERHEAD_BUCKETS,
    ),
    claudeDuration: seconds(metric.claudeDuration, "Time from a request to Claude to the end of the answer."),
    claudeFirstChunk: seconds(
      metric.claudeFirstChunk,
      "Time from a request to Claude to the first part of the answer.",
    ),
    claudeChunkGap: seconds(metric.claudeChunkGap, "Time between two parts of an answer of Claude.", GAP_BUCKETS),
    claudeActive: active(metric.claudeActive, "{request}", "Requests to Claude in progress."),
    claudeAnswers: count(metric.claudeAnswers, "{answer}", "Complete answers of Claude, by why it stopped."),
    claudeRetries: count(metric.claudeRetries, "{request}", "Requests made again, by what the one before failed with."),
    claudeFallbacks: count(metric.claudeFallbacks, "{request}", "Requests made to another model, by that model."),
    inputTokens: count(metric.inputTokens, "{token}", "Input tokens, those of the prompt cache included."),
    outputTokens: count(metric.outputTokens, "{token}", "Output tokens, those of thinking included."),
    cacheReadTokens: count(metric.cacheReadTokens, "{token}", "Input tokens that were read from the prompt cache."),
    cacheWriteTokens: count(metric.cacheWriteTokens, "{token}", "Input tokens that were written to the prompt cache."),
    thinkingTokens: count(metric.thinkingTokens, "{token}", "Output tokens of thinking."),
    cost: count(metric.cost, "{USD}", "Cost of tokens by the price table, in US dollars."),
    unpriced: count(metric.unpriced, "{answer}", "Answers of models without a price, which are not in the cost."),
    runDuration: seconds(metric.runDuration, "Time that a run worked until it ended or waited for somebody to act."),
    runTurns: perRun(metric.runTurns, "{inference_call}", "Turns of a run until it ended or waited."),
    runToolCalls: perRun(metric.runToolCalls, "{tool_call}", "Tool calls of a run until it ended or waited."),
    runsFinished: count(metric.runsFinished, "{run}", "Runs that have ended, by state."),
    toolDuration: seconds(metric.toolDuration, "Time of a tool call."),
    toolActive: active(metric.toolActive, "{tool_call}", "Tool calls in progress."),
  };
}
