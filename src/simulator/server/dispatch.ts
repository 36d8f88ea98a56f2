import { type Answer, jsonAnswer } from "../answer/answer.ts";
import type { Call, Endpoint, Prepared } from "../endpoints/endpoint.ts";
import { scriptedErrorAnswer, scriptedRawAnswer } from "../script/answer.ts";
import { responseKind, type Step } from "../script/format.ts";
import type { ScriptPlayer } from "../script/player.ts";
import type { AccessTokens } from "./access-tokens.ts";
import { ApiError, errorBody } from "./api-error.ts";
import { checkCredential, checkVersion } from "./authentication.ts";

export interface DispatchServices {
  readonly endpoints: readonly Endpoint[];
  readonly tokens: AccessTokens;
  readonly player: () => ScriptPlayer;
  readonly acceptedKeys: () => readonly string[] | undefined;
}

/** An answer, and the step of the script that it comes from. */
export interface Dispatched {
  readonly answer: Answer;
  readonly step?: Step;
}

/** Finds the answer to a request. Refusals are answers too. */
export function dispatch(call: Call, body: unknown, services: DispatchServices): Dispatched {
  try {
    return respond(call, body, services);
  } catch (error) {
    return { answer: errorAnswer(error, call.id) };
  }
}

function respond(call: Call, body: unknown, services: DispatchServices): Dispatched {
  const endpoint = services.endpoints.find(({ path, method }) => path.test(call.path) && method === call.method);
  if (endpoint?.needsCredential) {
    checkVersion(call.headers);
    checkCredential(call.headers, services.acceptedKeys(), services.tokens);
  }
  const player = services.player();
  const cue = player.cue({ ...call, body });
  if (cue.kind === "unexpected") throw new ApiError(500, "api_error", cue.message);
  const step = cue.kind === "step" ? cue.step : undefined;
  const validate = step?.validate !== false;
  const prepared = endpoint ? endpoint.prepare(call, validate) : prepareNothing(call, services.endpoints, step);
  if (!step) return { answer: prepared.answer() };
  player.use(step);
  return { answer: play(step, prepared, call.id), step };
}

/** No endpoint answers here, though a step may, with bytes or an error of its own. */
function prepareNothing(call: Call, endpoints: readonly Endpoint[], step: Step | undefined): Prepared {
  const kind = step && responseKind(step.respond);
  if (kind === "error" || kind === "raw") return { answer: () => scriptedErrorAnswer({}, call.id) };
  const known = endpoints.filter(({ path }) => path.test(call.path)).map(({ method }) => method);
  if (known.length === 0) throw new ApiError(404, "not_found_error", "Not Found");
  const headers = { allow: known.join(", ") };
  throw new ApiError(405, "invalid_request_error", "Method Not Allowed", { headers });
}

function play({ respond }: Step, prepared: Prepared, requestId: string): Answer {
  switch (responseKind(respond)) {
    case "error":
      return scriptedErrorAnswer(respond ?? {}, requestId);
    case "raw":
      return scriptedRawAnswer(respond ?? {});
    case "converse":
      return prepared.answer();
    default:
      return prepared.play?.(respond ?? {}) ?? prepared.answer();
  }
}

/** JSON of any depth can be parsed, but not walked. */
const TOO_DEEP = new ApiError(400, "invalid_request_error", "The request body is nested too deeply");

function errorAnswer(error: unknown, requestId: string): Answer {
  const unknown = error instanceof RangeError ? TOO_DEEP : new ApiError(500, "api_error", `Internal: ${String(error)}`);
  const { status, type, message, extras } = error instanceof ApiError ? error : unknown;
  const body = errorBody({ type, message, details: extras.details }, requestId);
  return jsonAnswer(status, body, { headers: extras.headers ?? {} });
}
