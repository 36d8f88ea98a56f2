import { z } from "zod";
import { count, duration, size } from "./units.ts";

/** The least severe lines that are logged, from most to least of them. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const text = z
  .string({ error: ({ input }) => (input === undefined ? "must be set" : "must be a text") })
  .min(1, "must not be empty");
const texts = z.array(text, "must be a list of texts");

const origin = text.refine((value) => value === "*" || URL.parse(value)?.origin === value, {
  error: ({ input }) => `must be an origin such as https://app.example, or *, but is ${JSON.stringify(input)}`,
});

/** An object with a fixed set of members, all of which have defaults. Empty, it is `null` in YAML. */
function section<S extends z.ZodRawShape>(shape: S) {
  return z.preprocess((value) => value ?? {}, z.strictObject(shape, { error: sectionError }));
}

const sectionError: z.core.$ZodErrorMap = (issue) =>
  issue.code === "unrecognized_keys" ? undefined : "must be a mapping of names to values";

/** The YAML file. Every name has a default, and a name that is not here is refused. */
export const fileSchema = section({
  claude: section({
    /** Model of requests that name none. `CLAUDE_MODEL` goes before. */
    model: text.default("claude-sonnet-5-5"),
    /** `max_tokens` of requests that set none. `CLAUDE_MAX_TOKENS` goes before. */
    maxTokens: count(1, 1_000_000).default(8_192),
    /** Models to try in order when the first is overloaded or unavailable. */
    fallbackModels: texts.default([]),
    /** Beta features that requests may use; `*` for all. */
    allowedBetas: texts.default([]),
    /** Members that `extra_params_json` may have; `*` for all. */
    allowedExtraParams: texts.default([]),
    /** Value of `anthropic-workspace-id`, for a key that can act on several workspaces. */
    workspaceId: text.optional(),
    /** How long connecting may take. */
    connectTimeout: duration("100ms", "5m").prefault("10s"),
    /** How long Claude may take to begin an answer. */
    firstByteTimeout: duration("100ms", "1h").prefault("60s"),
    /** How long Claude may be silent in the middle of an answer. It sends a ping every few seconds. */
    idleTimeout: duration("100ms", "1h").prefault("60s"),
    retry: section({
      /** How often a request is made at the most, the first time included. */
      maxAttempts: count(1, 10).default(3),
      /** The first wait is drawn from 0 to this; each further one from twice as much. */
      baseDelay: duration("1ms", "1m").prefault("500ms"),
      /** The longest wait. A `retry-after` above it is left to the caller. */
      maxDelay: duration("1ms", "10m").prefault("20s"),
    }),
  }),
  server: section({
    /** Address that both ports listen at. Unset: all addresses. */
    host: text.optional(),
    tls: z
      .strictObject(
        {
          /** Certificate and its chain, in PEM. */
          certFile: text,
          /** Private key, in PEM. */
          keyFile: text,
          /** Authorities that client certificates must come from, in PEM. Unset: clients need none. */
          clientCaFile: text.optional(),
        },
        { error: sectionError },
      )
      .optional(),
    /** Origins whose scripts may call, such as `https://app.example`; `*` for all. Empty: CORS is off. */
    corsOrigins: z.array(origin, "must be a list of origins").default([]),
    /** After how much silence a stream sends a heartbeat. */
    heartbeat: duration("100ms", "1h").prefault("15s"),
    /** How long new calls are still taken after SIGTERM, so that load balancers can look away. */
    lameDuck: duration("0s", "10m").prefault("5s"),
    /** How long calls in progress may take after that. */
    drain: duration("0s", "1h").prefault("30s"),
  }),
  limits: section({
    /** The most bytes that a request may have. Claude's own limit is 32 MB. */
    requestBytes: size("1KiB", "1GiB").prefault("32MiB"),
    /** The most bytes that the header of a request may have. */
    headerBytes: size("1KiB", "1MiB").prefault("32KiB"),
    /** The most calls at a time on one HTTP/2 connection. */
    concurrentStreams: count(1, 1_000_000).default(1_000),
    /** The most connections at a time. */
    connections: count(1, 1_000_000).default(10_000),
    /** The longest deadline: longer ones are cut. */
    timeout: duration("1s", "24h").prefault("1h"),
    /** How long the header of a request, and a TLS handshake, may take to arrive. */
    headerTime: duration("100ms", "5m").prefault("10s"),
    /** How long a whole request may take to arrive. */
    requestTime: duration("100ms", "1h").prefault("60s"),
    /** How long a connection may carry nothing until it is closed. */
    idleTime: duration("1s", "24h").prefault("10m"),
    /** How often a PING asks whether the caller is still there. */
    keepAlive: duration("1s", "24h").prefault("60s"),
  }),
  logging: section({
    /** The least severe lines that are written. `LOG_LEVEL` goes before. */
    level: z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(", ")}`).default("info"),
  }),
});

export type FileConfig = z.output<typeof fileSchema>;
