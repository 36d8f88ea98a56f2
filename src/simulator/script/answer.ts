import type { StopReason } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { type Answer, jsonAnswer, type Part, streamAnswer } from "../answer/answer.ts";
import type { Draft } from "../answer/draft.ts";
import { encodeEvent } from "../answer/sse.ts";
import { errorBody } from "../server/api-error.ts";
import { scriptedBlock } from "./blocks.ts";
import type { ScriptedError, ScriptedResponse } from "./format.ts";

/** The message that a step describes. */
export function scriptedDraft(response: ScriptedResponse): Draft {
  const outputs = (response.content ?? []).map(scriptedBlock);
  const callsTool = outputs.some((output) => output.block.type === "tool_use");
  return {
    outputs,
    stop: {
      reason: (response.stop_reason ?? (callsTool ? "tool_use" : "end_turn")) as StopReason,
      sequence: response.stop_sequence ?? null,
      details: (response.stop_details ?? null) as Draft["stop"]["details"],
    },
    serverTools: null,
  };
}

/** Error types by status, for steps that give a status alone. */
const TYPES: Readonly<Record<number, string>> = {
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  408: "timeout_error",
  409: "conflict_error",
  429: "rate_limit_error",
  504: "timeout_error",
  529: "overloaded_error",
};

/** The error response that a step describes. */
export function scriptedErrorAnswer({ status = 500, error, headers }: ScriptedResponse, requestId: string): Answer {
  const type = TYPES[status] ?? (status < 500 ? "invalid_request_error" : "api_error");
  const body = scriptedErrorBody(error ?? { type, message: `Scripted error ${status}` }, requestId);
  return jsonAnswer(status, body, { headers: headers ?? {} });
}

/** The body of a scripted error, also of one in mid-stream. */
export function scriptedErrorBody({ type, message, error_code: code, details }: ScriptedError, requestId: string) {
  const all = code === undefined ? details : { error_code: code, ...details };
  return errorBody({ type, message, details: all }, requestId);
}

/** The exact bytes that a step describes. */
export function scriptedRawAnswer({ raw = "", status = 200, headers }: ScriptedResponse): Answer {
  const data = typeof raw === "string" ? Buffer.from(raw) : Buffer.from(raw.base64, "base64");
  return {
    status,
    headers: { "content-type": "application/json", ...headers },
    streamed: false,
    tokensBeforeHeaders: 0,
    parts: [{ data, pace: "none" }],
  };
}

/** The exact events that a step describes. */
export function scriptedEventsAnswer({ events = [], headers }: ScriptedResponse): Answer {
  let begun = false;
  const parts = events.map(({ event, data }): Part => {
    const type = typeof data === "object" && typeof data.type === "string" ? data.type : undefined;
    const name = event === undefined ? type : (event ?? undefined);
    const text = typeof data === "string" ? data : JSON.stringify(data);
    const isContent = name !== "message_start" && name !== "ping";
    const pace = !isContent ? "none" : !begun ? "first" : name === "content_block_delta" ? "token" : "none";
    begun ||= isContent;
    return { data: encodeEvent(name, text), pace };
  });
  return streamAnswer(parts, headers);
}
