import type { IncomingHttpHeaders } from "node:http";
import type { AccessTokens } from "./access-tokens.ts";
import { ApiError, invalidRequest } from "./api-error.ts";

/** The one API version that is spoken here. */
const API_VERSION = "2026-10-21";

/** The beta without which access tokens are not accepted. */
const OAUTH_BETA = "oauth-2025-04-20";

/** The values of `anthropic-beta`, which may be repeated and hold lists. */
export function readBetas(headers: IncomingHttpHeaders): readonly string[] {
  const value = headers["anthropic-beta"];
  const list = Array.isArray(value) ? value.join(",") : (value ?? "");
  return list
    .split(",")
    .map((beta) => beta.trim())
    .filter((beta) => beta !== "");
}

/** Refuses a request without an API version, or with another one. */
export function checkVersion(headers: IncomingHttpHeaders): void {
  const version = headers["anthropic-version"];
  if (version === undefined) throw invalidRequest("header is required", "anthropic-version");
  if (version !== API_VERSION) throw invalidRequest(`"${version}" is not a valid version`, "anthropic-version");
}

/** Refuses a request without a key or access token, or with one that is not accepted. `undefined` accepts any key. */
export function checkCredential(
  headers: IncomingHttpHeaders,
  acceptedKeys: readonly string[] | undefined,
  tokens: AccessTokens,
): void {
  const bearer = /^Bearer\s+(\S+)$/i.exec(headers.authorization ?? "")?.[1];
  const apiKey = headers["x-api-key"];
  const key = bearer ?? (Array.isArray(apiKey) ? apiKey[0] : apiKey);
  if (!key) throw unauthorized("x-api-key header is required");
  const verdict = tokens.check(key);
  if (verdict === "expired") throw unauthorized("OAuth token has expired");
  if (verdict === "valid") {
    if (readBetas(headers).includes(OAUTH_BETA)) return;
    throw unauthorized("OAuth authentication is currently not supported.");
  }
  if (acceptedKeys && !acceptedKeys.includes(key))
    throw unauthorized(bearer ? "Invalid bearer token" : "invalid x-api-key");
}

function unauthorized(message: string): ApiError {
  return new ApiError(401, "authentication_error", message);
}
