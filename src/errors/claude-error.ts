import { Code } from "@connectrpc/connect";
import type { Failure, FieldViolation, TellingError } from "./failure.ts";
import { DEFAULT_RETRY_DELAY_MS } from "./parley-error.ts";

/** What Claude answered instead of a message: the status of the response, or an `error` event in a stream. */
export interface ClaudeAnswer {
  /** HTTP status. Unset for an `error` event: the status was 200 by then. */
  readonly status: number | undefined;
  /** `error.type` of the body, for example `rate_limit_error`. */
  readonly type: string | undefined;
  /** `error.details.error_code` of the body, for example `ramp_limit_exceeded`. */
  readonly errorCode: string | undefined;
  /** `error.message` of the body. */
  readonly message: string | undefined;
  /** The `request-id` header, or `request_id` of the body. */
  readonly requestId: string | undefined;
  /** From `retry-after` or `retry-after-ms`, in milliseconds from now. */
  readonly retryAfterMs?: number | undefined;
  /** From `x-should-retry`. */
  readonly shouldRetry?: boolean | undefined;
  /** The limit that is used up, by the `anthropic-ratelimit-*` headers, for example `input-tokens`. */
  readonly exhaustedLimit?: string | undefined;
  /** The model or other thing that was asked for. */
  readonly resource?: { readonly type: string; readonly name: string } | undefined;
}

/** How a kind of error of Claude's is told to callers. */
interface Rule {
  readonly code: Code;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** Claude's own words are not passed on: they are about the operator's account, not about the call. */
  readonly message?: string;
  readonly alert?: string;
}

const invalid: Rule = { code: Code.InvalidArgument, retryable: false };
const credential: Rule = {
  code: Code.Internal,
  retryable: false,
  message: "the service's credential for Claude was refused",
  alert: "credential_rejected",
};
const billingHold: Rule = {
  code: Code.FailedPrecondition,
  retryable: false,
  message: "the organisation's account with Claude is on hold",
  alert: "billing_hold",
};
const spent: Rule = {
  code: Code.ResourceExhausted,
  retryable: false,
  message: "a spending limit of the organisation's account with Claude is reached",
  alert: "spend_limit_reached",
};
const rateLimited: Rule = { code: Code.ResourceExhausted, retryable: true };
const unavailable: Rule = { code: Code.Unavailable, retryable: true };
const failed: Rule = { code: Code.Internal, retryable: true };
const denied: Rule = { code: Code.PermissionDenied, retryable: false };
const missing: Rule = { code: Code.NotFound, retryable: false };
const conflict: Rule = { code: Code.Aborted, retryable: true };
const precondition: Rule = { code: Code.FailedPrecondition, retryable: false };

/** By `error_code`, which names the cause best. The codes are those of the SDK's error classes. */
const byErrorCode = new Map<string | undefined, Rule>(
  Object.entries({
    contract_spend_limit_reached: spent,
    enforced_spend_limit_reached: spent,
    linked_organization_spend_limit_reached: spent,
    linked_organization_billing_unavailable: billingHold,
    user_profile_billing_not_authorized: billingHold,
    user_profile_not_billable: billingHold,
    organization_on_hold: billingHold,
    cmek_key_disabled: precondition,
    cmek_key_network_blocked: precondition,
    claude_code_key_creator_not_member: credential,
  }),
);

/** By `error.type`, where the type says more than the status. It is all that an `error` event has. */
const byType = new Map<string | undefined, Rule>(
  Object.entries({
    authentication_error: credential,
    billing_error: spent,
    permission_error: denied,
    not_found_error: missing,
    rate_limit_error: rateLimited,
    timeout_error: unavailable,
    overloaded_error: unavailable,
    conflict_error: conflict,
  }),
);

const byStatus: Record<number, Rule> = {
  400: invalid,
  401: credential,
  402: spent,
  403: denied,
  404: missing,
  408: unavailable,
  409: conflict,
  412: precondition,
  413: invalid,
  422: invalid,
  429: rateLimited,
  431: invalid,
  500: failed,
};

/** By `error.type`, where the status says more. */
const byVagueType = new Map<string | undefined, Rule>(
  Object.entries({ invalid_request_error: invalid, api_error: failed }),
);

function ruleOf({ errorCode, type, status }: ClaudeAnswer): Rule {
  return (
    byErrorCode.get(errorCode) ??
    byType.get(type) ??
    (status === undefined ? undefined : (byStatus[status] ?? (status >= 500 ? unavailable : undefined))) ??
    byVagueType.get(type) ??
    failed
  );
}

/** An error that Claude answered. */
export class ClaudeError extends Error implements TellingError {
  override readonly name = "ClaudeError";
  readonly answer: ClaudeAnswer;
  readonly failure: Failure;

  constructor(answer: ClaudeAnswer) {
    const rule = ruleOf(answer);
    const message = rule.message ?? answer.message ?? `Claude answered ${answer.status ?? "with an error"}`;
    super(message);
    this.answer = answer;
    const limit = answer.exhaustedLimit ?? (rule === spent ? "spend" : "rate");
    this.failure = {
      code: rule.code,
      domain: "api.anthropic.com",
      reason: (name(answer.errorCode) ?? name(answer.type) ?? `http_${answer.status ?? 200}`).toUpperCase(),
      message,
      retryable: rule.retryable,
      retryDelayMs: retryDelay(rule, answer),
      httpStatus: answer.status,
      upstreamRequestId: answer.requestId,
      violations: rule === invalid ? violationOf(message) : undefined,
      alert: rule.alert,
      resource: rule === missing ? answer.resource : undefined,
      quota: rule.code === Code.ResourceExhausted ? { subject: `claude:${limit}`, description: message } : undefined,
    };
  }

  /** Whether Claude is overloaded or down, so that another model may do better. */
  get isUnavailable(): boolean {
    const rule = ruleOf(this.answer);
    return rule === unavailable || rule === failed;
  }
}

/** A name that can be a reason: a proxy in front of Claude may say anything. */
function name(text: string | undefined): string | undefined {
  return text !== undefined && /^\w{1,64}$/.test(text) ? text : undefined;
}

function retryDelay(rule: Rule, answer: ClaudeAnswer): number | undefined {
  if (!rule.retryable) return undefined;
  if (answer.retryAfterMs !== undefined) return answer.retryAfterMs;
  return rule === unavailable || rule === rateLimited ? DEFAULT_RETRY_DELAY_MS : undefined;
}

/** Claude's complaints begin with the path of the field: `messages.0.content: Field required`. */
function violationOf(message: string): readonly FieldViolation[] | undefined {
  const match = /^([a-z_]+(?:\.[A-Za-z0-9_-]+)*): ([\s\S]+)$/.exec(message);
  if (match === null) return undefined;
  const [, path = "", description = ""] = match;
  return [{ field: path.replace(/\.(\d+)(?=\.|$)/g, "[$1]"), description }];
}
