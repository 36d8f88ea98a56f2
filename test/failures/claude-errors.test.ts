import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { failureOf, type Told } from "../support/details.ts";
import { type Service, startService } from "../support/service.ts";

const request = { messages: [{ role: Role.USER, text: "hello" }] };

interface Expected {
  readonly code: string;
  readonly reason: string;
  /** Details besides ErrorInfo and RequestInfo. */
  readonly details?: readonly (keyof Told)[];
  readonly retryable: boolean;
  /** How often Claude was asked, of at most 2. */
  readonly asked: number;
  readonly message?: RegExp;
}

interface Row extends Expected {
  readonly status: number;
  readonly type: string;
  readonly errorCode?: string;
  readonly headers?: Record<string, string>;
}

/** The table of ARCHITECTURE: what Claude answers, and what the caller is told. */
const answered: Record<string, Row> = {
  "400": {
    status: 400,
    type: "invalid_request_error",
    code: "InvalidArgument",
    reason: "INVALID_REQUEST_ERROR",
    details: ["badRequest"],
    retryable: false,
    asked: 1,
  },
  "401": {
    status: 401,
    type: "authentication_error",
    code: "Internal",
    reason: "AUTHENTICATION_ERROR",
    retryable: false,
    asked: 1,
    message: /^the service's credential for Claude was refused$/,
  },
  "402": {
    status: 402,
    type: "billing_error",
    code: "ResourceExhausted",
    reason: "BILLING_ERROR",
    details: ["quotaFailure"],
    retryable: false,
    asked: 1,
    message: /^a spending limit of the organisation's account with Claude is reached$/,
  },
  "402, a spend limit": {
    status: 402,
    type: "billing_error",
    errorCode: "linked_organization_spend_limit_reached",
    code: "ResourceExhausted",
    reason: "LINKED_ORGANIZATION_SPEND_LIMIT_REACHED",
    details: ["quotaFailure"],
    retryable: false,
    asked: 1,
    message: /^a spending limit of the organisation's account with Claude is reached$/,
  },
  "402, a billing hold": {
    status: 402,
    type: "billing_error",
    errorCode: "linked_organization_billing_unavailable",
    code: "FailedPrecondition",
    reason: "LINKED_ORGANIZATION_BILLING_UNAVAILABLE",
    retryable: false,
    asked: 1,
    message: /^the organisation's account with Claude is on hold$/,
  },
  "400, an organization on hold": {
    status: 400,
    type: "invalid_request_error",
    errorCode: "organization_on_hold",
    code: "FailedPrecondition",
    reason: "ORGANIZATION_ON_HOLD",
    retryable: false,
    asked: 1,
    message: /^the organisation's account with Claude is on hold$/,
  },
  "403": {
    status: 403,
    type: "permission_error",
    code: "PermissionDenied",
    reason: "PERMISSION_ERROR",
    retryable: false,
    asked: 1,
  },
  "404": {
    status: 404,
    type: "not_found_error",
    code: "NotFound",
    reason: "NOT_FOUND_ERROR",
    details: ["resourceInfo"],
    retryable: false,
    asked: 1,
  },
  "408": {
    status: 408,
    type: "timeout_error",
    code: "Unavailable",
    reason: "TIMEOUT_ERROR",
    details: ["retryInfo"],
    retryable: true,
    asked: 2,
  },
  "409": { status: 409, type: "conflict_error", code: "Aborted", reason: "CONFLICT_ERROR", retryable: true, asked: 2 },
  "413": {
    status: 413,
    type: "invalid_request_error",
    code: "InvalidArgument",
    reason: "INVALID_REQUEST_ERROR",
    details: ["badRequest"],
    retryable: false,
    asked: 1,
  },
  "422": {
    status: 422,
    type: "invalid_request_error",
    code: "InvalidArgument",
    reason: "INVALID_REQUEST_ERROR",
    details: ["badRequest"],
    retryable: false,
    asked: 1,
  },
  "429": {
    status: 429,
    type: "rate_limit_error",
    code: "ResourceExhausted",
    reason: "RATE_LIMIT_ERROR",
    details: ["quotaFailure", "retryInfo"],
    retryable: true,
    asked: 2,
  },
  "429, a ramp limit": {
    status: 429,
    type: "rate_limit_error",
    errorCode: "ramp_limit_exceeded",
    code: "ResourceExhausted",
    reason: "RAMP_LIMIT_EXCEEDED",
    details: ["quotaFailure", "retryInfo"],
    retryable: true,
    asked: 2,
  },
  "429, the contract's spend limit": {
    status: 429,
    type: "rate_limit_error",
    errorCode: "contract_spend_limit_reached",
    code: "ResourceExhausted",
    reason: "CONTRACT_SPEND_LIMIT_REACHED",
    details: ["quotaFailure"],
    retryable: false,
    asked: 1,
    message: /^a spending limit of the organisation's account with Claude is reached$/,
  },
  "429, the tier's spend limit": {
    status: 429,
    type: "rate_limit_error",
    errorCode: "enforced_spend_limit_reached",
    code: "ResourceExhausted",
    reason: "ENFORCED_SPEND_LIMIT_REACHED",
    details: ["quotaFailure"],
    retryable: false,
    asked: 1,
    message: /^a spending limit of the organisation's account with Claude is reached$/,
  },
  "500": { status: 500, type: "api_error", code: "Internal", reason: "API_ERROR", retryable: true, asked: 2 },
  "502": {
    status: 502,
    type: "api_error",
    code: "Unavailable",
    reason: "API_ERROR",
    details: ["retryInfo"],
    retryable: true,
    asked: 2,
  },
  "503": {
    status: 503,
    type: "api_error",
    code: "Unavailable",
    reason: "API_ERROR",
    details: ["retryInfo"],
    retryable: true,
    asked: 2,
  },
  "504": {
    status: 504,
    type: "timeout_error",
    code: "Unavailable",
    reason: "TIMEOUT_ERROR",
    details: ["retryInfo"],
    retryable: true,
    asked: 2,
  },
  "529": {
    status: 529,
    type: "overloaded_error",
    code: "Unavailable",
    reason: "OVERLOADED_ERROR",
    details: ["retryInfo"],
    retryable: true,
    asked: 2,
  },
  "503, unless Claude says not to retry": {
    status: 503,
    type: "api_error",
    headers: { "x-should-retry": "false" },
    code: "Unavailable",
    reason: "API_ERROR",
    details: ["retryInfo"],
    retryable: true,
    asked: 1,
  },
  "400, if Claude says to retry": {
    status: 400,
    type: "invalid_request_error",
    headers: { "x-should-retry": "true" },
    code: "InvalidArgument",
    reason: "INVALID_REQUEST_ERROR",
    details: ["badRequest"],
    retryable: false,
    asked: 2,
  },
};

/** `error` events have no status: the type says what it is. */
const events: Record<string, Expected> = {
  invalid_request_error: {
    code: "InvalidArgument",
    reason: "INVALID_REQUEST_ERROR",
    details: ["badRequest"],
    retryable: false,
    asked: 1,
  },
  authentication_error: { code: "Internal", reason: "AUTHENTICATION_ERROR", retryable: false, asked: 1 },
  billing_error: {
    code: "ResourceExhausted",
    reason: "BILLING_ERROR",
    details: ["quotaFailure"],
    retryable: false,
    asked: 1,
  },
  permission_error: { code: "PermissionDenied", reason: "PERMISSION_ERROR", retryable: false, asked: 1 },
  not_found_error: { code: "NotFound", reason: "NOT_FOUND_ERROR", retryable: false, asked: 1 },
  rate_limit_error: {
    code: "ResourceExhausted",
    reason: "RATE_LIMIT_ERROR",
    details: ["quotaFailure", "retryInfo"],
    retryable: true,
    asked: 2,
  },
  timeout_error: { code: "Unavailable", reason: "TIMEOUT_ERROR", details: ["retryInfo"], retryable: true, asked: 2 },
  api_error: { code: "Internal", reason: "API_ERROR", retryable: true, asked: 2 },
  overloaded_error: {
    code: "Unavailable",
    reason: "OVERLOADED_ERROR",
    details: ["retryInfo"],
    retryable: true,
    asked: 2,
  },
  conflict_error: { code: "Aborted", reason: "CONFLICT_ERROR", retryable: true, asked: 2 },
  constructor: { code: "Internal", reason: "CONSTRUCTOR", retryable: true, asked: 2 },
  of_tomorrow_error: { code: "Internal", reason: "OF_TOMORROW_ERROR", retryable: true, asked: 2 },
};

let service: Service;

/** Each group of tests has a service of its own: so many failures would use up the retry budget of one. */
function withService(): void {
  before(async () => {
    service = await startService({ config: { claude: { retry: { maxAttempts: 2 } } } });
  });
  after(() => service[Symbol.asyncDispose]());
}

async function asked(script: Script, call: () => Promise<Told>): Promise<{ told: Told; times: number }> {
  service.simulator.run(script);
  const before = service.simulator.requests.length;
  const told = await call();
  return { told, times: service.simulator.requests.length - before };
}

const details = [
  "errorInfo",
  "requestInfo",
  "retryInfo",
  "badRequest",
  "quotaFailure",
  "resourceInfo",
  "partialOutput",
] as const;

function assertTold(told: Told, expected: Expected, alsoDetails: readonly (keyof Told)[] = []): void {
  assert.equal(told.code, expected.code);
  assert.equal(told.errorInfo?.reason, expected.reason);
  assert.equal(told.errorInfo?.domain, "api.anthropic.com");
  assert.equal(told.errorInfo?.metadata.retryable, String(expected.retryable));
  assert.deepEqual(
    details.filter((name) => told[name] !== undefined).sort(),
    ["errorInfo", "requestInfo", ...(expected.details ?? []), ...alsoDetails].sort(),
  );
}

const calls = {
  Chat: () => failureOf(service.chat.chat(request)),
  StreamChat: () => failureOf(service.chat.streamChat({ chat: request })),
};

for (const [rpc, call] of Object.entries(calls)) {
  describe(`${rpc}, when Claude answers`, () => {
    withService();
    for (const [name, row] of Object.entries(answered)) {
      test(name, async () => {
        const error = {
          type: row.type,
          message: "messages.0.content: too long",
          ...(row.errorCode && { error_code: row.errorCode }),
        };
        const headers = { "request-id": "req_77", ...row.headers };
        const { told, times } = await asked(
          { steps: [{ times: 2, respond: { status: row.status, headers, error } }] },
          call,
        );
        assertTold(told, row);
        assert.equal(times, row.asked);
        assert.equal(told.errorInfo?.metadata.httpStatus, String(row.status));
        assert.equal(told.errorInfo?.metadata.upstreamRequestId, "req_77");
        assert.match(told.message, row.message ?? /^messages\.0\.content: too long$/);
        if (row.details?.includes("badRequest")) {
          const prefix = rpc === "Chat" ? "" : "chat.";
          assert.deepEqual(
            told.badRequest?.fieldViolations.map(({ field, description }) => [field, description]),
            [[`${prefix}messages[0].content`, "too long"]],
          );
        }
        if (row.details?.includes("resourceInfo")) {
          assert.equal(told.resourceInfo?.resourceType, "model");
          assert.equal(told.resourceInfo?.resourceName, "claude-sonnet-5-5");
        }
      });
    }
  });

  describe(`${rpc}, when Claude sends an error event`, () => {
    withService();
    for (const [type, expected] of Object.entries(events)) {
      const error = { type, message: "messages.0.content: too long" };

      test(`${type} before the first content, which is retried if it may be`, async () => {
        const step = { times: 2, respond: { content: [{ text: "Hi" }] }, faults: { errorAfter: { events: 1, error } } };
        const { told, times } = await asked({ steps: [step] }, call);
        assertTold(told, expected, ["partialOutput"]);
        assert.equal(times, expected.asked);
        assert.equal(told.partialOutput?.lastSequence, 0);
        assert.ok((told.partialOutput?.usage?.inputTokens ?? 0) > 0);
      });

      test(`${type} after the first content, which is final`, async () => {
        const step = {
          times: 2,
          respond: { content: [{ text: "Hello, you" }] },
          faults: { errorAfter: { events: 4, error } },
        };
        const { told, times } = await asked({ steps: [step] }, call);
        assertTold(told, expected, ["partialOutput"]);
        assert.equal(times, 1);
        assert.equal(told.partialOutput?.lastSequence, rpc === "Chat" ? 0 : 3, "of 4 events the second is a ping");
      });
    }
  });
}

describe("what else Claude says", () => {
  withService();

  test("the wait that Claude asks for is passed on", async () => {
    const headers = { "retry-after": "3600" };
    const { told, times } = await asked(
      { steps: [{ respond: { status: 429, headers, error: { type: "rate_limit_error", message: "" } } }] },
      calls.Chat,
    );
    assert.equal(times, 1, "a wait that is longer than the longest is the caller's");
    assert.ok(told.retryInfo?.retryDelay);
    assert.equal(durationMs(told.retryInfo.retryDelay), 3_600_000);
  });

  test("whatever a proxy in front of Claude says, the error stays small enough for trailers", async () => {
    const long = "x".repeat(9_000);
    const error = { type: long, message: "€".repeat(9_000), error_code: long };
    const headers = { "request-id": long.slice(0, 4_000) };
    const { told } = await asked({ steps: [{ respond: { status: 400, headers, error } }] }, calls.Chat);
    assert.equal(told.errorInfo?.reason, "HTTP_400");
    assert.ok(Buffer.byteLength(told.message) <= 520);
    assert.ok((told.errorInfo?.metadata.upstreamRequestId?.length ?? 0) <= 513);
  });

  test("the limit that is used up is named", async () => {
    const headers = {
      "retry-after": "3600",
      "anthropic-ratelimit-requests-remaining": "5",
      "anthropic-ratelimit-input-tokens-remaining": "0",
    };
    const { told } = await asked(
      { steps: [{ respond: { status: 429, headers, error: { type: "rate_limit_error", message: "" } } }] },
      calls.Chat,
    );
    assert.equal(told.quotaFailure?.violations[0]?.subject, "claude:input-tokens");
  });

  test("an error whose members are of other types is told by its status", async () => {
    const step = { respond: { status: 529, raw: '{"type":"error","error":{"type":5,"message":7}}' }, times: 2 };
    const { told } = await asked({ steps: [step] }, calls.Chat);
    assert.equal(told.code, "Unavailable");
    assert.equal(told.errorInfo?.reason, "HTTP_529");
  });

  for (const [alert, status, type] of [
    ["spend_limit_reached", 402, "billing_error"],
    ["credential_rejected", 401, "authentication_error"],
  ] as const) {
    test(`the operator is alerted of ${alert}, whatever the level of the log`, async () => {
      const lines = service.logs.length;
      await asked({ steps: [{ respond: { status, error: { type, message: "no" } } }] }, calls.Chat);
      await service.nextCall();
      const alerts = service.logs.slice(lines).filter((line) => line.alert !== undefined);
      assert.deepEqual(
        alerts.map(({ level, alert }) => ({ level, alert })),
        [{ level: "error", alert }],
      );
    });
  }

  test("a refused credential is an alert in the log, and no word of it to the caller", async () => {
    const step = {
      respond: { status: 401, error: { type: "authentication_error", message: "invalid sk-ant-abc123" } },
    };
    const { told } = await asked({ steps: [step] }, calls.Chat);
    assert.ok(!JSON.stringify(told, (_, value) => (typeof value === "bigint" ? 0 : value)).includes("sk-ant"));
    assert.ok(service.logs.some(({ alert, level }) => alert === "credential_rejected" && level === "error"));
    assert.ok(!JSON.stringify(service.logs).includes("sk-ant"));
  });

  test("a body that is no JSON is told by its status", async () => {
    const step = { respond: { status: 503, raw: "<html>no healthy upstream</html>" }, times: 2 };
    const { told } = await asked({ steps: [step] }, calls.Chat);
    assert.equal(told.code, "Unavailable");
    assert.equal(told.errorInfo?.reason, "HTTP_503");
    assert.ok(!told.message.includes("html"));
  });
});
