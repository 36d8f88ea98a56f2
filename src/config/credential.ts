import type { Secret } from "./secret.ts";

/** How Parley proves to Claude who it is. */
export type Credential =
  | { readonly kind: "apiKey"; readonly apiKey: Secret }
  /** Workload identity federation: a token of the platform is exchanged for one of Claude's. */
  | {
      readonly kind: "federation";
      readonly ruleId: string;
      readonly organizationId: string;
      readonly serviceAccountId: string | undefined;
      readonly workspaceId: string | undefined;
      /** File with the identity token, read anew for each exchange. */
      readonly identityTokenFile: string;
    };
