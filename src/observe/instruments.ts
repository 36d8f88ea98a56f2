import type { Attributes, Meter } from "@opentelemetry/api";
import { attribute, COUNT_BUCKETS, DURATION_BUCKETS, GAP_BUCKETS, metric, OVERHEAD_BUCKETS } from "./names.ts";
import { remembered, Sums } from "./sums.ts";

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
  const sums = (name: string, unit: string, description: string) =>
    new Sums(meter.createObservableCounter(name, { description, unit }));
  const activeSums = (name: string, unit: string, description: string) =>
    new Sums(meter.createObservableUpDownCounter(name, { description, unit }));
  const perRun = (name: string, unit: string, description: string) =>
    meter.createHistogram(name, { description, unit, advice: { explicitBucketBoundaries: COUNT_BUCKETS } });

  const alerts = count(metric.alerts, "{alert}", "Failures that nobody but the operator can mend.");
  for (const alert of ALERTS) alerts.add(0, { [attribute.alert]: alert });
  const rpcActive = activeSums(metric.rpcActive, "{call}", "Calls in progress.");
  const rpcMessages = sums(metric.rpcMessages, "{message}", "Messages of calls that have ended.");
  const answers = sums(metric.claudeAnswers, "{answer}", "Complete answers of Claude, by why it stopped.");
  const unpriced = sums(
    metric.unpriced,
    "{answer}",
    "Answers without a price, or whose usage is none, which are not in the cost.",
  );
  const input = sums(metric.inputTokens, "{token}", "Input tokens, those of the prompt cache included.");
  const output = sums(metric.outputTokens, "{token}", "Output tokens, those of thinking included.");
  const cacheRead = sums(metric.cacheReadTokens, "{token}", "Input tokens that were read from the prompt cache.");
  const cacheWrite = sums(metric.cacheWriteTokens, "{token}", "Input tokens that were written to the prompt cache.");
  const thinking = sums(metric.thinkingTokens, "{token}", "Output tokens of thinking.");
  const cost = sums(metric.cost, "{USD}", "Cost of tokens by the price table, in US dollars.");
  return {
    alerts,
    /** Calls of a method, and their messages. */
    rpc: remembered((method) => {
      const labels = { [attribute.rpcMethod]: method };
      return {
        labels,
        active: rpcActive.with(labels),
        received: rpcMessages.with({ ...labels, [attribute.direction]: "received" }),
        sent: rpcMessages.with({ ...labels, [attribute.direction]: "sent" }),
      };
    }),
    /** What a model has used for a caller. */
    used: remembered((model) =>
      remembered((caller) => {
        const labels = { [attribute.requestModel]: model, [attribute.caller]: caller };
        return {
          input: input.with(labels),
          output: output.with(labels),
          cacheRead: cacheRead.with(labels),
          cacheWrite: cacheWrite.with(labels),
          thinking: thinking.with(labels),
          cost: cost.with(labels),
        };
      }),
    ),
    unpriced: remembered((model) => unpriced.with({ [attribute.requestModel]: model })),
    /** Answers of a model with a stop reason. */
    answers: remembered((model) =>
      remembered((reason) => answers.with({ [attribute.requestModel]: model, [attribute.finishReasons]: reason })),
    ),
    rpcDuration: seconds(metric.rpcDuration, "Time from the first byte of a call to the last of its answer."),
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
    claudeActive: activeSums(metric.claudeActive, "{request}", "Requests to Claude in progress.").with({}),
    claudeRetries: count(metric.claudeRetries, "{request}", "Requests made again, by what the one before failed with."),
    claudeFallbacks: count(metric.claudeFallbacks, "{request}", "Requests made to another model, by that model."),
    runDuration: seconds(metric.runDuration, "Time that a run worked until it ended or waited for somebody to act."),
    runTurns: perRun(metric.runTurns, "{inference_call}", "Turns of a run until it ended or waited."),
    runToolCalls: perRun(metric.runToolCalls, "{tool_call}", "Tool calls of a run until it ended or waited."),
    runsFinished: count(metric.runsFinished, "{run}", "Runs that have ended, by state."),
    toolDuration: seconds(metric.toolDuration, "Time of a tool call."),
    toolActive: active(metric.toolActive, "{tool_call}", "Tool calls in progress."),
  };
}
