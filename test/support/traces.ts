import { EventEmitter, on } from "node:events";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { type ReadableSpan, type Sampler, type SpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import { startLocalTelemetry, type Telemetry } from "../../src/observe/telemetry.ts";

/** Spans that a service has ended, in memory. */
export interface Traces {
  /** For `overrides.telemetry`. */
  readonly telemetry: Telemetry;
  readonly tracerProvider: TracerProvider;
  /** Spans that have begun and not ended. */
  readonly open: ReadonlySet<ReadableSpan>;
  /** Spans that have ended, in this order. */
  readonly spans: readonly ReadableSpan[];
  /** Resolves with the first span, past or to come, that fits. */
  span(fits: (span: ReadableSpan) => boolean): Promise<ReadableSpan>;
  /** Resolves when so many spans have ended, and none is open. */
  ended(count: number): Promise<readonly ReadableSpan[]>;
}

export async function startTraces(sampler?: Sampler): Promise<Traces> {
  const spans: ReadableSpan[] = [];
  const open = new Set<ReadableSpan>();
  const events = new EventEmitter<{ span: [ReadableSpan] }>().setMaxListeners(0);
  const processor: SpanProcessor = {
    onStart: (span) => void open.add(span),
    onEnd(span) {
      open.delete(span);
      spans.push(span);
      events.emit("span", span);
    },
    forceFlush: async () => {},
    shutdown: async () => {},
  };
  const tracerProvider = new TracerProvider({ spanProcessors: [processor], ...(sampler !== undefined && { sampler }) });
  const metrics = startLocalTelemetry();
  return {
    telemetry: { ...metrics, tracerProvider, propagator: new W3CTraceContextPropagator() },
    tracerProvider,
    open,
    spans,
    async span(fits) {
      const found = spans.find(fits);
      if (found !== undefined) return found;
      for await (const [span] of on(events, "span")) if (fits(span)) return span;
      throw new Error("unreachable");
    },
    async ended(count) {
      if (spans.length >= count && open.size === 0) return spans;
      for await (const _ of on(events, "span")) if (spans.length >= count && open.size === 0) break;
      return spans;
    },
  };
}

/** The spans as an outline: each line is a name, indented below its parent. Siblings are in the order in which they began. */
export function outline(spans: readonly ReadableSpan[]): string[] {
  const ids = new Set(spans.map((span) => span.spanContext().spanId));
  const time = ({ startTime: [seconds, nanos] }: ReadableSpan) => seconds * 1e9 + nanos;
  const below = (parent: string | undefined, indent: string): string[] =>
    spans
      .filter(({ parentSpanContext }) => {
        const id = parentSpanContext?.spanId;
        return parent === undefined ? id === undefined || !ids.has(id) : id === parent;
      })
      .sort((one, other) => time(one) - time(other))
      .flatMap((span) => [`${indent}${span.name}`, ...below(span.spanContext().spanId, `${indent}  `)]);
  return below(undefined, "");
}
