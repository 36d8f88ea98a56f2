import type { IncomingMessage, ServerResponse } from "node:http";
import { type DeliveryPlan, deliver, type Progress } from "../answer/deliver.ts";
import type { Call } from "../endpoints/endpoint.ts";
import type { ResolvedPacing } from "../pacing.ts";
import { scriptedErrorBody } from "../script/answer.ts";
import { MESSAGES_PATH, type Step } from "../script/format.ts";
import type { Gates } from "../script/gates.ts";
import { ApiError } from "./api-error.ts";
import { decodeBody, readBody, requestTooLarge } from "./body.ts";
import { type Dispatched, type DispatchServices, dispatch } from "./dispatch.ts";
import { newId } from "./ids.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { RequestEnd, RequestLog } from "./request-log.ts";

/** The organization that all keys belong to. */
const ORGANIZATION_ID = "00000000-0000-4000-8000-000000000000";

export interface ExchangeServices extends DispatchServices {
  readonly log: RequestLog;
  readonly limits: RateLimits;
  readonly pacing: ResolvedPacing;
  readonly pingMs: number;
  /** Aborted when the simulator closes. */
  readonly closing: AbortSignal;
  /** Gets one line about each request, without its content. */
  readonly write: (line: string) => void;
}

/** Answers one request, from its first byte to the end of its response. */
export async function exchange(
  request: IncomingMessage,
  response: ServerResponse,
  services: ExchangeServices,
): Promise<void> {
  const receivedAt = performance.now();
  const id = newId("req");
  const progress: Progress = { eventsSent: 0, faulted: false };
  const gone = new AbortController();
  const ended = Promise.withResolvers<RequestEnd>();
  response.on("error", () => {});
  response.once("close", () => {
    const broken = progress.faulted || services.closing.aborted;
    const how = response.writableFinished && !progress.faulted ? "completed" : broken ? "fault" : "client-closed";
    gone.abort();
    ended.resolve({ how, at: performance.now(), eventsSent: progress.eventsSent });
  });
  try {
    const call = await readCall(request, id);
    const body = parse(call.bodyText);
    const { method, path, headers, bodyText } = call;
    services.log.add({ method, path, headers, bodyText, body, receivedAt, ended: ended.promise });
    const gates = services.player().gates;
    const dispatched = dispatch(call, body, services);
    const answer = { ...dispatched.answer, headers: allHeaders(dispatched, call, services) };
    await deliver(response, answer, planFor(dispatched.step, id, gates, services), progress, gone.signal);
    const { how, eventsSent } = await ended.promise;
    const took = Math.round(performance.now() - receivedAt);
    services.write(`${method} ${path} ${answer.status} ${how}, events: ${eventsSent}, ms: ${took}, ${id}`);
  } catch (error) {
    progress.faulted ||= !gone.signal.aborted;
    response.destroy();
    const reason = gone.signal.aborted ? (await ended.promise).how : String(error);
    services.write(`${request.method} ${request.url?.split("?")[0]} ${reason}, events: ${progress.eventsSent}, ${id}`);
  }
}

async function readCall(request: IncomingMessage, id: string): Promise<Call> {
  const url = URL.parse(request.url ?? "/", "http://simulator");
  const call = {
    id,
    method: request.method ?? "GET",
    path: url?.pathname ?? "/",
    query: url?.searchParams ?? new URLSearchParams(),
    headers: request.headers,
  };
  const raw = await readBody(request);
  if (raw === "too-large") return { ...call, bodyText: "", bodyProblem: requestTooLarge() };
  try {
    const decoded = await decodeBody(raw, request.headers["content-encoding"]);
    return { ...call, bodyText: new TextDecoder("utf-8", { fatal: true }).decode(decoded), bodyProblem: undefined };
  } catch (error) {
    const problem =
      error instanceof ApiError
        ? error
        : new ApiError(400, "invalid_request_error", "The request body is not valid JSON: it is not UTF-8");
    return { ...call, bodyText: "", bodyProblem: problem };
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function allHeaders({ answer }: Dispatched, call: Call, { limits }: ExchangeServices): Record<string, string> {
  return {
    "request-id": call.id,
    "anthropic-organization-id": ORGANIZATION_ID,
    ...(call.path === MESSAGES_PATH ? limits.headers() : {}),
    ...answer.headers,
  };
}

function planFor(step: Step | undefined, requestId: string, gates: Gates, services: ExchangeServices): DeliveryPlan {
  const { timing = {}, faults = {}, gate, gateAfter } = step ?? {};
  const { errorAfter, ...others } = faults;
  return {
    pacing: {
      firstTokenMs: timing.firstTokenMs ?? services.pacing.firstTokenMs,
      tokensPerSecond: timing.tokensPerSecond ?? services.pacing.tokensPerSecond,
    },
    delayMs: timing.delayMs ?? 0,
    pingMs: timing.pingMs ?? services.pingMs,
    faults: {
      ...others,
      errorAfter: errorAfter && { events: errorAfter.events, body: scriptedErrorBody(errorAfter.error, requestId) },
    },
    gate: gate === undefined ? undefined : () => gates.passed(gate),
    gateAfter: gateAfter && { events: gateAfter.events, passed: () => gates.passed(gateAfter.gate) },
  };
}
