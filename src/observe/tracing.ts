import type { IncomingHttpHeaders } from "node:http";
import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  type SpanOptions,
  SpanStatusCode,
  type TextMapGetter,
  type TextMapPropagator,
  type TextMapSetter,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { attribute } from "./names.ts";
import type { Telemetry } from "./telemetry.ts";

/**
 * Traces of calls. They go along explicitly, as contexts: what streams come from would lose the active one.
 *
 * When nothing is traced, a context still has the span of the caller, if it has told of one, so that tools are given it.
 */
export class Tracing {
  readonly #tracer: Tracer | undefined;
  readonly #propagator: TextMapPropagator;

  constructor({ tracerProvider, propagator }: Pick<Telemetry, "tracerProvider" | "propagator">) {
    this.#tracer = tracerProvider?.getTracer("parley");
    this.#propagator = propagator;
  }

  /** The trace that a request is part of. Undefined: there is none, and none is begun. */
  incoming(headers: IncomingHttpHeaders): Context | undefined {
    const context = this.#propagator.extract(ROOT_CONTEXT, headers, headerGetter);
    return context === ROOT_CONTEXT ? undefined : withKnownFlags(context);
  }

  /** Begins a span, and returns the context that has it. When nothing is traced, it is the parent. */
  start(name: string, options: SpanOptions, parent: Context | undefined): Context | undefined {
    if (this.#tracer === undefined) return parent;
    const context = parent ?? ROOT_CONTEXT;
    const { attributes, ...others } = options;
    const span = this.#tracer.startSpan(name, others, context);
    // No sampler of the SDK's looks at them: to give them to it costs twice as much, and just so when it takes nothing.
    if (attributes !== undefined && span.isRecording()) span.setAttributes(attributes);
    return trace.setSpan(context, span);
  }

  /** Headers that hand a trace on within the organisation, as the configuration has it. */
  headers(context: Context | undefined): Record<string, string> {
    return context === undefined ? {} : injected(this.#propagator, context);
  }

  /** The same as W3C Trace Context, whatever the configuration has: identifiers alone. */
  w3cHeaders(context: Context | undefined): Record<string, string> {
    return context === undefined ? {} : injected(w3c, context);
  }

  /** Headers that hand a trace on to Claude. Undefined: nothing is traced. */
  headersForClaude(context: Context | undefined): Record<string, string> | undefined {
    return this.#tracer === undefined || context === undefined ? undefined : injected(w3c, context);
  }
}

/** The span of a context, if it is one that records what it is told. */
export function recordingSpan(context: Context | undefined): Span | undefined {
  const span = context === undefined ? undefined : trace.getSpan(context);
  return span?.isRecording() ? span : undefined;
}

/** The identifiers of a context's span. */
export function spanContextOf(context: Context | undefined): SpanContext | undefined {
  return context === undefined ? undefined : trace.getSpanContext(context);
}

/** Says of a span that it failed, and ends it. `errorType` is undefined when it has not. */
export function endSpan(span: Span, errorType: string | undefined): void {
  if (errorType !== undefined) {
    span.setAttribute(attribute.errorType, errorType);
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.end();
}

/** For log lines. The span of somebody else is not told as one of ours. */
export function traceFields(span: SpanContext | undefined): { trace_id?: string; span_id?: string | undefined } {
  if (span === undefined) return {};
  return { trace_id: span.traceId, span_id: span.isRemote ? undefined : span.spanId };
}

/** A time of `performance.now()` as spans have it: milliseconds since the epoch. */
export function epochMs(time: number): number {
  return Date.now() - performance.now() + time;
}

const w3c = new W3CTraceContextPropagator();

function injected(propagator: TextMapPropagator, context: Context): Record<string, string> {
  const headers: Record<string, string> = {};
  propagator.inject(context, headers, headerSetter);
  return headers;
}

/** Of W3C Trace Context, level 2: sampled, and random identifiers. Others must not be handed on. */
const KNOWN_FLAGS = 0x03;

/** OpenTelemetry's propagator writes flags that it does not know as more than two digits. */
function withKnownFlags(context: Context): Context {
  const span = trace.getSpanContext(context);
  if (span === undefined || span.traceFlags <= KNOWN_FLAGS) return context;
  return trace.setSpanContext(context, { ...span, traceFlags: span.traceFlags & KNOWN_FLAGS });
}

const headerGetter: TextMapGetter<IncomingHttpHeaders> = {
  keys: (headers) => Object.keys(headers),
  get: (headers, name) => headers[name],
};

const headerSetter: TextMapSetter<Record<string, string>> = {
  set(headers, name, value) {
    // `tracestate` without a legal member is an empty text.
    if (value !== "") headers[name.toLowerCase()] = value;
  },
};
