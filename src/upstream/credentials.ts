import type { ClientOptions } from "@anthropic-ai/sdk";
import type { Credential } from "../config/credential.ts";

/** The SDK's options for a credential. */
export function credentialOptions(credential: Credential): Pick<ClientOptions, "apiKey" | "config"> {
  if (credential.kind === "apiKey") return { apiKey: () => credential.apiKey.read() };
  return {
    config: {
      organization_id: credential.organizationId,
      workspace_id: credential.workspaceId,
      authentication: {
        type: "oidc_federation",
        federation_rule_id: credential.ruleId,
        service_account_id: credential.serviceAccountId,
        identity_token: { source: "file", path: credential.identityTokenFile },
      },
    },
  };
}
