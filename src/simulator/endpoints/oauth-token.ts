import { z } from "zod";
import { jsonAnswer } from "../answer/answer.ts";
import { problemsIn } from "../request/schema/wording.ts";
import type { AccessTokens } from "../server/access-tokens.ts";
import { readBetas } from "../server/authentication.ts";
import { requireJsonObject } from "../server/body.ts";
import type { Call, Endpoint } from "./endpoint.ts";

/** The grant of RFC 7523, which workload identity federation uses. */
const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/** The beta without which the exchange is not offered. */
const FEDERATION_BETA = "oidc-federation-2026-04-01";

/** Largest assertion. Characters. */
const MAX_ASSERTION = 16 * 1024;

const exchange = z.strictObject({
  grant_type: z.literal(JWT_BEARER),
  assertion: z
    .string()
    .max(MAX_ASSERTION)
    .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/),
  federation_rule_id: z.string().min(1),
  organization_id: z.string().min(1),
  service_account_id: z.string().min(1).optional(),
  workspace_id: z.string().min(1).optional(),
});

/**
 * `POST /v1/oauth/token`: gives an access token for the identity token of a workload. Who signed that token is not
 * checked, only that it has the form of a JWT. Errors are those of RFC 6749.
 */
export function createOAuthTokenEndpoint(tokens: AccessTokens): Endpoint {
  return {
    method: "POST",
    path: /^\/v1\/oauth\/token$/,
    needsCredential: false,
    prepare(call) {
      const problem = findProblem(call);
      if (problem) return { answer: () => jsonAnswer(400, problem) };
      return {
        answer() {
          const { token, expiresIn } = tokens.issue();
          const body = { access_token: token, token_type: "Bearer", expires_in: expiresIn };
          return jsonAnswer(200, body, { headers: { "cache-control": "no-store" } });
        },
      };
    },
  };
}

function findProblem(call: Call): { error: string; error_description: string } | undefined {
  if (call.bodyProblem) throw call.bodyProblem;
  const body = requireJsonObject(call.bodyText, call.headers["content-type"]);
  if (!readBetas(call.headers).includes(FEDERATION_BETA)) {
    return { error: "invalid_request", error_description: `anthropic-beta must include ${FEDERATION_BETA}` };
  }
  if (typeof body.grant_type === "string" && body.grant_type !== JWT_BEARER) {
    return { error: "unsupported_grant_type", error_description: `only ${JWT_BEARER} is supported` };
  }
  const [problem] = problemsIn(exchange, body);
  if (!problem) return undefined;
  const isGrant = problem.path[0] === "assertion" && body.assertion !== undefined;
  return {
    error: isGrant ? "invalid_grant" : "invalid_request",
    error_description: `${problem.path.map(String).join(".")}: ${problem.message}`,
  };
}
