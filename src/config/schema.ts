import { z } from "zod";
import { pricesSchema } from "./prices-schema.ts";
import { section, sectionError, text, texts } from "./sections.ts";
import { toolsSchema } from "./tools-schema.ts";
import { count, duration, size } from "./units.ts";

/** The least severe lines that are logged, from most to least of them. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const origin = text.refine((value) => value === "*" || URL.parse(value)?.origin === value, {
  error: ({ input }) => `must be an origin such as https://app.example, or *, but is ${JSON.stringify(input)}`,
});

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
    /** Sets prompt-cache breakpoints where the request sets none: in runs, and after prefixes of this size and more. */
    promptCaching: section({
      enabled: z.boolean("must be true or false").default(true),
      /** Tools and system prompt together. Claude caches nothing that is shorter than about 1,024 to 4,096 tokens. */
      minPrefix: size("0B", "32MiB").prefault("16KiB"),
    }),
    retry: section({
      /** How often a request is made at the most, the first time included. */
      maxAttempts: count(1, 10).default(3),
      /** The first wait is drawn from 0 to this; each further one from twice as much. */
      baseDelay: duration("1ms", "1m").prefault("500ms"),
      /** The longest wait. A `retry-after` above it is left to the caller. */
      maxDelay: duration("1ms", "10m").prefault("20s"),
    }),
  }),
  runs: section({
    /** Budgets of runs that set none. */
    defaults: section({
      turns: count(1, 10_000).default(10),
      toolCalls: count(0, 100_000).default(100),
      outputTokens: count(1, 1_000_000_000).default(1_000_000),
      duration: duration("100ms", "24h").prefault("10m"),
      /** Part of the deadline that is held back for a last answer: at most a fifth of the deadline, by default. */
      deadlineReserve: duration("0s", "1h").prefault("15s"),
      /** Tool calls at a time. */
      parallelToolCalls: count(1, 64).default(8),
    }),
    /** Budgets that no request can exceed. */
    caps: section({
      turns: count(1, 10_000).default(100),
      toolCalls: count(0, 100_000).default(1_000),
      outputTokens: count(1, 1_000_000_000).default(10_000_000),
      /** In US dollars. Unset: no cap. One needs the price of each model that is asked. */
      costUsd: z.number("must be a number").positive("must be above 0").optional(),
      duration: duration("100ms", "24h").prefault("1h"),
    }),
    /** Runs at a time in this process. */
    active: count(1, 100_000).default(1_000),
    /** How long a run waits for the caller to act. */
    actionTimeout: duration("1s", "24h").prefault("1h"),
    /** How long a run and its events are kept when it has ended. */
    retention: duration("1s", "24h").prefault("1h"),
    /** The most memory for events of runs. When more are there, the oldest go. */
    memory: size("64KiB", "64GiB").prefault("256MiB"),
    /** The most bytes of a tool's result that Claude is given: what is more is cut off. */
    resultBytes: size("1KiB", "16MiB").prefault("128KiB"),
  }),
  tools: toolsSchema,
  /** What models cost, by their names. */
  prices: pricesSchema,
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
    /**
     * How long a connection takes new calls, give or take a tenth: then its caller opens another, which may lead to a replica
     * that is new. Calls in progress are not cut. `0s`: as long as it is there.
     */
    connectionAge: duration("0s", "24h").prefault("30m"),
    /** How often a PING asks whether the caller is still there. */
    keepAlive: duration("1s", "24h").prefault("60s"),
  }),
  admin: section({
    /** Whether the admin port tells of calls and runs in progress, and of the configuration. */
    debug: z.boolean("must be true or false").default(true),
    /** Whether it gives CPU profiles, and heap snapshots, which hold prompts, answers and keys. */
    profiling: z.boolean("must be true or false").default(false),
  }),
  telemetry: section({
    /** Whether spans carry prompts, answers, and arguments and results of tools. */
    captureContent: z.boolean("must be true or false").default(false),
  }),
  logging: section({
    /** The least severe lines that are written. `LOG_LEVEL` goes before. */
    level: z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(", ")}`).default("info"),
  }),
});

export type FileConfig = z.output<typeof fileSchema>;
