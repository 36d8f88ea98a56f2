import type { Context, SpanContext } from "@opentelemetry/api";
import type { RunRecord } from "./run-record.ts";

/** Is told of what runs do, for traces and metrics. */
export interface RunObserver {
  /** A run begins to work, or goes on. `cause` is the trace of the call that made it do so. */
  workStarted(record: RunRecord, cause: Context | undefined): ObservedWork;
  /** A run has ended, also one that was not at work. */
  ended(record: RunRecord): void;
}

/** A stretch of a run's work: until it ends, or waits for somebody to act. */
export interface ObservedWork {
  /** The trace that its turns and tool calls are part of. */
  readonly trace: Context | undefined;
  /** Undefined: it has none. */
  readonly span: SpanContext | undefined;
  /** It is over. What became of it is in the record. */
  ended(): void;
}
