import { EventEmitter, on, once } from "node:events";
import { type Context, ROOT_CONTEXT, SpanKind, SpanStatusCode, type TextMapGetter, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { type ReadableSpan, type Sampler, type SpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import { attribute } from "../../src/observe/names.ts";
import { startLocalTelemetry, type Telemetry } from "../../src/observe/telemetry.ts";

/** Spans that have ended, in memory: those of a service, of its callers and of its tools. */
export interface Traces {
  /** For `overrides.telemetry`. */
  readonly telemetry: Telemetry;
  /** Spans that have begun and not ended. */
  readonly open: ReadonlySet<ReadableSpan>;
  /** Spans that have ended, in the order in which they began. */
  readonly spans: readonly ReadableSpan[];
  /** Resolves when a span has ended that fits, past or to come. */
  span(fits: (span: ReadableSpan) => boolean): Promise<void>;
  /** Resolves when no span is open. Rejects, with their names, when some still are after ten seconds. */
  settled(): Promise<void>;
  /** Forgets the spans that have ended. */
  forget(): void;
  /** Does work in a span as a caller of the service has one, and gives it the headers that hand it on. */
  caller(work: (headers: Readonly<Record<string, string>>) => Promise<unknown>): Promise<CallerSpan>;
  /** Does work as a service that is traced, in a span of its own below the one that headers or metadata tell of. */
  serve<T>(name: string, headers: Readonly<Record<string, string>>, work: () => T | Promise<T>): Promise<T>;
}

/** A span that a caller has had. */
export interface CallerSpan {
  readonly traceId: string;
  /** Spans of its trace that have ended, in the order in which they began. */
  readonly spans: readonly ReadableSpan[];
  /** The one of that name. */
  span(name: string): ReadableSpan;
  /** What the work has thrown. */
  readonly error: unknown;
}

const propagator = new W3CTraceContextPropagator();

export function startTraces(sampler?: Sampler): Traces {
  const begun: ReadableSpan[] = [];
  const open = new Set<ReadableSpan>();
  const events = new EventEmitter<{ span: [] }>().setMaxListeners(0);
  const processor: SpanProcessor = {
    onStart(span) {
      begun.push(span);
      open.add(span);
    },
    onEnd(span) {
      open.delete(span);
      events.emit("span");
    },
    forceFlush: async () => {},
    shutdown: async () => {},
  };
  const tracerProvider = new TracerProvider({ spanProcessors: [processor], ...(sampler !== undefined && { sampler }) });
  const ended = () => begun.filter((span) => !open.has(span));
  const tracer = tracerProvider.getTracer("test");
  const start = (name: string, kind: SpanKind, parent: Context) =>
    trace.setSpan(parent, tracer.startSpan(name, { kind }, parent));
  return {
    telemetry: { ...startLocalTelemetry(), tracerProvider, propagator },
    open,
    get spans() {
      return ended();
    },
    async span(fits) {
      while (!ended().some(fits)) await once(events, "span");
    },
    async settled() {
      if (open.size === 0) return;
      try {
        for await (const _ of on(events, "span", { signal: AbortSignal.timeout(10_000) })) if (open.size === 0) return;
      } catch {
        throw new Error(`these spans have not ended: ${[...open].map(({ name }) => name).join(", ")}`);
      }
    },
    forget() {
      begun.splice(0, begun.length, ...open);
    },
    async caller(work) {
      const context = start("caller", SpanKind.CLIENT, ROOT_CONTEXT);
      const headers: Record<string, string> = {};
      propagator.inject(context, headers, {
        set: (carrier, name, value) => void Object.assign(carrier, { [name]: value }),
      });
      let error: unknown;
      try {
        await work(headers);
      } catch (thrown) {
        error = thrown;
      }
      trace.getSpan(context)?.end();
      const traceId = trace.getSpanContext(context)?.traceId ?? "";
      return callerSpan(traceId, ended, error);
    },
    async serve(name, headers, work) {
      const context = start(name, SpanKind.SERVER, propagator.extract(ROOT_CONTEXT, headers, headerGetter));
      const inner = start(`${name}: its own work`, SpanKind.INTERNAL, context);
      try {
        return await work();
      } finally {
        trace.getSpan(inner)?.end();
        trace.getSpan(context)?.end();
      }
    },
  };
}

function callerSpan(traceId: string, ended: () => readonly ReadableSpan[], error: unknown): CallerSpan {
  const spans = () => ended().filter((span) => span.spanContext().traceId === traceId);
  return {
    traceId,
    error,
    get spans() {
      return spans();
    },
    span(name) {
      const found = spans().filter((span) => span.name === name);
      if (found[0] === undefined || found.length > 1) throw new Error(`${found.length} spans are called ${name}`);
      return found[0];
    },
  };
}

/**
 * The spans as an outline: each line is a name, indented below its parent. `error.type` is behind the name: after `!` where
 * the status of the span is ERROR, otherwise after `?`.
 */
export function outline(spans: readonly ReadableSpan[]): string[] {
  const ids = new Set(spans.map((span) => span.spanContext().spanId));
  const below = (parent: string | undefined, indent: string): string[] =>
    spans
      .filter(({ parentSpanContext }) => {
        const id = parentSpanContext?.spanId;
        return parent === undefined ? id === undefined || !ids.has(id) : id === parent;
      })
      .flatMap((span) => [`${indent}${titleOf(span)}`, ...below(span.spanContext().spanId, `${indent}  `)]);
  return below(undefined, "");
}

function titleOf({ name, status, attributes }: ReadableSpan): string {
  const errorType = attributes[attribute.errorType];
  const isError = status.code === SpanStatusCode.ERROR;
  if (errorType === undefined) return isError ? `${name} !` : name;
  return `${name} ${isError ? "!" : "?"}${errorType}`;
}

/** `traceparent` as requests below a span carry it. */
export function traceparentOf(span: ReadableSpan): string {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return `00-${traceId}-${spanId}-0${traceFlags}`;
}

const headerGetter: TextMapGetter<Readonly<Record<string, string>>> = {
  keys: (headers) => Object.keys(headers),
  get: (headers, name) => headers[name],
};
