import assert from "node:assert/strict";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Simulator, Step } from "../../src/simulator/simulator.ts";
import type { Told } from "../support/details.ts";
import type { Caller } from "./callers.ts";

export const chatOf = (text: string) => ({ messages: [{ role: Role.USER, text }] });
export const chat = chatOf("hello");
export const respond = { content: [{ text: "one two six ten" }] };
export const TOKENS = ["one ", "two ", "six ", "ten"];
/** Events of Claude's before the first token: the beginning of the message, a ping, the beginning of the block. */
export const BEFORE_TEXT = 3;

/** Where Claude's answer stands still. */
export const phases: Readonly<Record<string, Step>> = {
  "before its headers": { respond, gate: "never" },
  "before the first token": { respond, gateAfter: { events: BEFORE_TEXT, gate: "never" } },
  "between two tokens": { respond, gateAfter: { events: BEFORE_TEXT + 2, gate: "never" } },
};

/** What Claude does that makes a call fail, or what is asked of it. */
export interface Failure {
  readonly step?: Step;
  readonly messages?: typeof chat.messages;
}

export const failures: Readonly<Record<string, Failure>> = {
  "a request that is not valid": { messages: [] },
  "a rate limit": {
    step: {
      respond: { status: 429, headers: { "retry-after": "7" }, error: { type: "rate_limit_error", message: "slow" } },
    },
  },
  "an overload": { step: { respond: { status: 529 } } },
  "an answer that is cut off": { step: { respond, faults: { cutAfter: BEFORE_TEXT + 2 } } },
};

/** The request to Claude in which something is said. */
export async function requestOf(simulator: Simulator, text: string) {
  for (;;) {
    const request = await simulator.nextRequest();
    if (request.bodyText.includes(text)) return request;
  }
}

/** Reads a stream to its end; resolves with the code of its error. */
export async function codeOf(caller: Caller, text: string, signal?: AbortSignal): Promise<string> {
  try {
    for await (const _ of caller.streamChat(chatOf(text), signal));
    return "complete";
  } catch (error) {
    return caller.told(error).code;
  }
}

/** What the error of a call tells. */
export async function failureOf(caller: Caller, input: typeof chat): Promise<Told> {
  try {
    await caller.chat(input);
  } catch (error) {
    return caller.told(error);
  }
  throw new Error("the call succeeded");
}

/** Asserts that callers of all URLs are told the same of a failure. */
export async function assertToldAlike(
  simulator: Simulator,
  callerOf: (url: string) => Caller,
  urls: readonly string[],
  failure: Failure,
): Promise<void> {
  simulator.run({ steps: failure.step === undefined ? [] : [{ ...failure.step, times: urls.length }] });
  const [first, ...others] = await Promise.all(
    urls.map(async (url) => {
      using caller = callerOf(url);
      return await lastingFailureOf(caller, failure);
    }),
  );
  for (const other of others) assert.deepEqual(first, other);
}

/** What the error of a call tells that is the same each time that it happens. */
async function lastingFailureOf(caller: Caller, { step, messages = chat.messages }: Failure) {
  const { requestInfo, errorInfo, ...told } = await failureOf(caller, { messages });
  assert.ok(requestInfo);
  const { upstreamRequestId, ...metadata } = errorInfo?.metadata ?? {};
  assert.equal(upstreamRequestId !== undefined, step !== undefined);
  assert.ok(errorInfo?.reason);
  return { ...told, reason: errorInfo.reason, metadata };
}
