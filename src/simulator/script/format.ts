import { validateHeaderName, validateHeaderValue } from "node:http";
import { z } from "zod";

const count = z.int().min(0);
const milliseconds = z.number().min(0);
const jsonObject = z.record(z.string(), z.unknown());

/** Shorthands for blocks of one member, next to Claude's own JSON with its `type`. */
const SHORTHANDS = ["text", "thinking", "redacted_thinking"] as const;

const block = jsonObject.superRefine((value, context) => {
  if (typeof value.type === "string") return;
  const [key, ...others] = Object.keys(value);
  const isShorthand = others.length === 0 && SHORTHANDS.some((name) => name === key && typeof value[name] === "string");
  if (!isShorthand) {
    context.addIssue({
      code: "custom",
      message: `a block needs a "type", or is one of the shorthands ${SHORTHANDS.join(", ")}`,
    });
  }
});

const error = z.strictObject({
  type: z.string().min(1),
  message: z.string(),
  error_code: z.string().optional(),
  details: jsonObject.optional(),
});

const sendableHeaders = z.record(z.string(), z.string()).superRefine((headers, context) => {
  for (const [name, value] of Object.entries(headers)) {
    try {
      validateHeaderName(name);
      validateHeaderValue(name, value);
    } catch (error) {
      context.addIssue({
        code: "custom",
        path: [name],
        message: error instanceof Error ? error.message : String(error),
      });
    }
  }
});

const expectation = z.strictObject({
  method: z.string().optional(),
  /** Without it the step is for `POST /v1/messages`; other paths are left to their endpoints unless a step names them. */
  path: z.string().startsWith("/").optional(),
  /** Exact values; `null` for a header that must be absent. */
  headers: z.record(z.string(), z.string().nullable()).optional(),
  /** A part of the body: members that are not listed may be anything, lists are compared whole. */
  body: jsonObject.optional(),
  /** Text that the last user message contains. */
  contains: z.string().optional(),
});

const KINDS = {
  error: ["error"],
  message: ["content", "stop_reason", "stop_sequence", "stop_details", "usage", "model", "id"],
  events: ["events"],
  raw: ["raw"],
  converse: ["converse"],
} as const;

/** What a response is made of: exactly one kind, told by its members; `status` alone is an error. */
export type ResponseKind = keyof typeof KINDS;

const response = z
  .strictObject({
    status: z.int().min(200).max(599).optional(),
    headers: sendableHeaders.optional(),
    error: error.optional(),
    content: z.array(block).optional(),
    stop_reason: z.string().optional(),
    stop_sequence: z.string().nullable().optional(),
    stop_details: jsonObject.nullable().optional(),
    usage: jsonObject.optional(),
    model: z.string().optional(),
    id: z.string().optional(),
    /** Events to send as they are. `event` defaults to the `type` of the data; `null` leaves the line out. */
    events: z
      .array(z.strictObject({ event: z.string().nullable().optional(), data: z.union([z.string(), jsonObject]) }))
      .optional(),
    /** The exact body. */
    raw: z.union([z.string(), z.strictObject({ base64: z.base64() })]).optional(),
    /** Answers like the default scenario. */
    converse: z.literal(true).optional(),
  })
  .superRefine((value, context) => {
    const kinds = kindsOf(value);
    if (kinds.length > 1) {
      context.addIssue({ code: "custom", message: `one kind of response only, not ${kinds.join(" and ")}` });
    }
    if (kinds.length === 0 && value.status === undefined) {
      context.addIssue({ code: "custom", message: "nothing to respond with" });
    }
    const takesStatus = kinds[0] === undefined || kinds[0] === "error" || kinds[0] === "raw";
    if (!takesStatus && value.status !== undefined) {
      context.addIssue({ code: "custom", path: ["status"], message: "only errors and raw responses have a status" });
    }
    if (kinds[0] !== "raw" && value.status !== undefined && value.status < 400) {
      context.addIssue({ code: "custom", path: ["status"], message: "an error has a status of 400 or more" });
    }
  });

function kindsOf(value: object): ResponseKind[] {
  return Object.entries(KINDS).flatMap(([kind, members]) =>
    members.some((member) => member in value) ? [kind as ResponseKind] : [],
  );
}

/** Which kind of response a step has. */
export function responseKind(value: ScriptedResponse | undefined): ResponseKind {
  if (!value) return "converse";
  return kindsOf(value)[0] ?? "error";
}

const timing = z.strictObject({
  /** Before the headers. */
  delayMs: milliseconds.optional(),
  firstTokenMs: milliseconds.optional(),
  tokensPerSecond: z.number().positive().optional(),
  /** Between pings while nothing flows. */
  pingMs: z.number().min(1).optional(),
});

const faults = z.strictObject({
  /** Takes the request and destroys the socket. */
  closeBeforeHeaders: z.literal(true).optional(),
  /** After so many events the socket stays open and silent. */
  stallAfter: count.optional(),
  /** After so many events the socket is destroyed. */
  cutAfter: count.optional(),
  /** After so many events the response ends as if it were complete. */
  truncateAfter: count.optional(),
  /** After so many events bytes follow that are neither events nor JSON nor UTF-8, and the response ends. */
  garbageAfter: count.optional(),
  /** After so many events an `error` event follows, and the response ends. */
  errorAfter: z.strictObject({ events: count, error }).optional(),
  /** The body is written in pieces of so many bytes. */
  splitBytes: z.int().min(1).optional(),
  /** The body is cut at these byte offsets. */
  splitAt: z
    .array(z.int().min(1))
    .refine((offsets) => offsets.every((offset, index) => offset > (offsets[index - 1] ?? 0)), "offsets must ascend")
    .optional(),
  lineEnding: z.enum(["lf", "crlf", "cr"]).optional(),
});

const step = z
  .strictObject({
    /** For messages about this step. */
    name: z.string().optional(),
    expect: expectation.optional(),
    /** Without it the default scenario answers. */
    respond: response.optional(),
    timing: timing.optional(),
    faults: faults.optional(),
    /** Waits before the headers until this gate is open. */
    gate: z.string().min(1).optional(),
    /** Waits after so many events until this gate is open. */
    gateAfter: z.strictObject({ events: count, gate: z.string().min(1) }).optional(),
    /** How often the step is used. Default 1. */
    times: z.int().min(1).optional(),
    /** `false` lets a body pass that Claude would refuse, such as one with blocks newer than this simulator. */
    validate: z.literal(false).optional(),
  })
  .superRefine((value, context) => {
    const kind = responseKind(value.respond);
    if (value.validate === false && kind === "converse") {
      context.addIssue({ code: "custom", path: ["validate"], message: "the default scenario needs a valid request" });
    }
    const path = value.expect?.path ?? MESSAGES_PATH;
    if (path !== MESSAGES_PATH && (kind === "message" || kind === "events")) {
      context.addIssue({ code: "custom", path: ["respond"], message: `${kind} is for ${MESSAGES_PATH} only` });
    }
  });

/** The endpoint whose requests a script is about, unless a step says otherwise. */
export const MESSAGES_PATH = "/v1/messages";

const script = z.strictObject({
  steps: z.array(step),
  /** Each request uses the first step that matches, instead of the next one. Default false. */
  anyOrder: z.boolean().optional(),
  /** What happens to requests when all steps were used. Default `unexpected`. */
  afterwards: z.enum(["unexpected", "converse"]).optional(),
});

/** Exact turns and faults, step by step. */
export type Script = z.input<typeof script>;
export type Step = Script["steps"][number];
export type Expectation = NonNullable<Step["expect"]>;
export type ScriptedResponse = NonNullable<Step["respond"]>;
export type ScriptedError = z.input<typeof error>;

/** A script that cannot be used; the message lists everything that is wrong with it. */
export class ScriptError extends Error {
  constructor(problems: readonly string[]) {
    super(["The script is not valid:", ...problems.map((problem) => `- ${problem}`)].join("\n"));
    this.name = "ScriptError";
  }
}

/**
 * Checks a script.
 * @throws {ScriptError} with all its problems and their paths.
 */
export function parseScript(value: unknown): Script {
  const result = script.safeParse(value);
  if (result.success) return result.data;
  throw new ScriptError(
    result.error.issues.map(({ path, message }) => `${path.map(String).join(".") || "script"}: ${message}`),
  );
}
