import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import { cors as connectCors } from "@connectrpc/connect";

/** How long a browser may remember the answer to a preflight, in seconds. Chromium's own limit is 2 hours. */
const MAX_AGE_SECONDS = 7_200;

const allowMethods = connectCors.allowedMethods.join(", ");
const exposeHeaders = [...connectCors.exposedHeaders, "x-request-id"].join(", ");

/**
 * Headers that let scripts of other origins call (WHATWG Fetch, CORS protocol), or undefined when the origin is not
 * allowed. `allowedOrigins` are exact (`https://app.example`); `*` stands for all.
 */
export function corsHeaders(
  request: IncomingHttpHeaders,
  allowedOrigins: readonly string[],
): OutgoingHttpHeaders | undefined {
  const { origin } = request;
  if (origin === undefined || !(allowedOrigins.includes("*") || allowedOrigins.includes(origin))) return undefined;
  return { "access-control-allow-origin": origin, "access-control-expose-headers": exposeHeaders, vary: "Origin" };
}

/** Headers that answer a preflight. */
export function preflightHeaders(request: IncomingHttpHeaders): OutgoingHttpHeaders {
  return {
    "access-control-allow-methods": allowMethods,
    // Whatever the script wants to send: an origin that may call may set any header.
    "access-control-allow-headers": request["access-control-request-headers"] ?? "",
    "access-control-max-age": String(MAX_AGE_SECONDS),
  };
}
