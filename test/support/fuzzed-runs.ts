import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import fc from "fast-check";
import type { Script, Step } from "../../src/simulator/simulator.ts";
import { ToolError } from "../../src/tools/tool.ts";
import { messageEvents, streamedCall } from "./message-events.ts";
import { hang, ScriptedTools } from "./scripted-tools.ts";

type Json = Record<string, unknown>;

/** A tool for each way that a call can go. */
export function fuzzTools(): ScriptedTools {
  const text = (value: string) => ({ type: "text" as const, text: value });
  const image = {
    type: "image" as const,
    source: { type: "base64" as const, media_type: "image/png" as const, data: "aGVsbG8=" },
  };
  return new ScriptedTools({
    ok: () => "seen",
    later: async (_, { progress }) => {
      progress("half");
      await new Promise((resolve) => setImmediate(resolve));
      progress("whole");
      return "seen";
    },
    fail: () => Promise.reject(new ToolError(Code.NotFound, "there is none")),
    crash: () => {
      throw new TypeError("a defect");
    },
    late: [{ timeoutMs: 15 }, hang],
    deaf: [{ timeoutMs: 15 }, () => new Promise(() => {})],
    endless: [{ timeoutMs: 150 }, hang],
    narrow: [{ maxConcurrency: 1 }, () => "seen"],
    huge: () => ({ content: [text("x".repeat(3_000)), image, text("y")] }),
    blank: () => ({ content: [text(""), text(" "), text("\ud83d")] }),
    nothing: () => ({ content: [] }),
    asks: [{ requiresApproval: true }, () => "approved"],
  });
}

/** Tools that the fuzzed requests offer, besides the caller's own, `mine`. `unknown` is none. */
const TOOLS = [...fuzzTools().tools.map(({ name }) => name), "ok", "ok", "mine", "unknown"];

const faultBefore = fc.constantFrom<Step>(
  { respond: { status: 529 } },
  { respond: { status: 500 } },
  { respond: { status: 429 } },
  { respond: { content: [{ text: "lost" }] }, faults: { closeBeforeHeaders: true } },
  { respond: { content: [{ text: "lost" }] }, faults: { truncateAfter: 1 } },
  { respond: { content: [{ text: "lost" }] }, faults: { cutAfter: 2 } },
);

const overloaded = { type: "overloaded_error", message: "Overloaded" };
const faultInside = fc
  .tuple(
    fc.constantFrom("cutAfter", "truncateAfter", "garbageAfter", "stallAfter", "errorAfter"),
    fc.integer({ min: 0, max: 10 }),
  )
  .map(([kind, events]) => ({ [kind]: kind === "errorAfter" ? { events, error: overloaded } : events }));

const turn = fc.record({
  before: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, fc.array(faultBefore, { maxLength: 3 })),
  thinking: fc.boolean(),
  text: fc.constantFrom(undefined, "", " \n", "I look."),
  calls: fc.array(fc.constantFrom(...TOOLS), { minLength: 1, maxLength: 5 }),
  end: fc.oneof(
    { weight: 12, arbitrary: fc.constant("tool_use" as const) },
    { weight: 3, arbitrary: fc.constant("pause_turn" as const) },
    // Claude's own tool is at work while the others are called.
    { weight: 2, arbitrary: fc.constant("both" as const) },
    { weight: 2, arbitrary: fc.constant("no_json" as const) },
    { weight: 1, arbitrary: fc.constantFrom("max_tokens" as const, "refusal" as const, "tired" as const) },
  ),
  fault: fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: faultInside }),
});

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

export const fuzzedRun = fc.record({
  turns: fc.array(turn, { minLength: 1, maxLength: 7 }),
  budget: fc.record({
    maxTurns: maybe(fc.integer({ min: 1, max: 5 })),
    maxToolCalls: maybe(fc.integer({ min: 0, max: 6 })),
    maxOutputTokens: maybe(fc.bigInt({ min: 1n, max: 80n })),
    durationMs: maybe(fc.constantFrom(20, 100)),
  }),
  maxParallelToolCalls: fc.integer({ min: 0, max: 3 }),
  /** Who stops the run, and at which of its events. */
  stop: maybe(fc.record({ how: fc.constantFrom("abort", "CancelRun"), at: fc.integer({ min: 1, max: 60 }) })),
  resumes: fc.integer({ min: 0, max: 3 }),
  /** How the caller answers what the run asks: one after the other, again and again. */
  answers: fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }),
});

export type FuzzedRun = typeof fuzzedRun extends fc.Arbitrary<infer T> ? T : never;

/** What a fuzzed run may use. */
export function budgetOf({ budget: { durationMs, ...budget } }: FuzzedRun) {
  return { ...budget, ...(durationMs !== undefined && { maxDuration: durationFromMs(durationMs) }) };
}

/** A text that is longer, in events, than any fault inside an answer lets through. */
const LONG = Array.from({ length: 20 }, (_, index) => `word${index}`).join(" ");

/** A script of these turns. Claude ends the run when they are used up. */
export function scriptOf({ turns, budget }: FuzzedRun): Script {
  const steps: Step[] = [];
  let ids = 0;
  /** The call of Claude's own tool that an answer has left open. */
  let open: string | undefined;
  for (const { before, thinking, text, calls, end, fault } of turns) {
    steps.push(...before);
    const named = calls.map((name) => ({ type: "tool_use", id: `toolu_${++ids}`, name, input: { n: ids } }));
    if (fault !== undefined) {
      steps.push({ respond: { content: [{ text: LONG }, ...named] }, faults: fault });
      continue;
    }
    const found = open === undefined ? [] : [{ type: "web_search_tool_result", tool_use_id: open, content: [] }];
    // A turn that was cut because of a budget is asked for again when the run is resumed.
    if (end !== "max_tokens") open = undefined;
    if (end === "no_json" && found.length === 0) {
      const blocks = named.map(({ id, name }, index) =>
        streamedCall(id, name, index === 0 ? '{"n": 1' : '{ "n":1.0 }'),
      );
      steps.push({ respond: messageEvents(blocks, "tool_use") });
      continue;
    }
    const content: Json[] = [
      ...found,
      ...(thinking ? [{ thinking: "Hm, what could it be?" }] : []),
      ...(text === undefined ? [] : [{ text }]),
    ];
    // A turn that is cut by the time may leave one of Claude's own calls open, which the script cannot know.
    if ((end === "pause_turn" || end === "both") && budget.durationMs === undefined) {
      open = `srvtoolu_${++ids}`;
      const search = { type: "server_tool_use", id: open, name: "web_search", input: { query: "parley" } };
      const others = end === "both" ? named : [];
      const stop = end === "both" ? "tool_use" : end;
      steps.push({ respond: { content: [...content, search, ...others], stop_reason: stop } });
    } else {
      const stop = /^(?:pause_turn|both|no_json)$/.test(end) ? "tool_use" : end;
      steps.push({ respond: { content: [...content, ...named], stop_reason: stop } });
    }
  }
  const isLastTurn = { body: { tool_choice: { type: "none" } } };
  const last: Step = { respond: { content: [{ text: "My best." }] }, expect: isLastTurn, times: 100 };
  const found = open === undefined ? [] : [{ type: "web_search_tool_result", tool_use_id: open, content: [] }];
  const done: Step = { respond: { content: [...found, { text: "Done." }] }, times: 100 };
  return { steps: [last, ...steps, done], anyOrder: true };
}
