import { randomBytes } from "node:crypto";

/** Tokens handed out for workload identities, which authenticate like keys until they expire. */
export interface AccessTokens {
  issue(): { readonly token: string; readonly expiresIn: number };
  /** `foreign` for a token that was not issued here. */
  check(token: string): "valid" | "expired" | "foreign";
}

/** An issuer of tokens that live for so many seconds; `now` is milliseconds since the epoch. */
export function createAccessTokens(lifetimeSeconds: number, now: () => number): AccessTokens {
  const expiries = new Map<string, number>();
  return {
    issue() {
      const token = `sk-ant-oat01-${randomBytes(24).toString("base64url")}`;
      expiries.set(token, now() + lifetimeSeconds * 1000);
      return { token, expiresIn: lifetimeSeconds };
    },
    check(token) {
      const expiry = expiries.get(token);
      if (expiry === undefined) return "foreign";
      return now() < expiry ? "valid" : "expired";
    },
  };
}
