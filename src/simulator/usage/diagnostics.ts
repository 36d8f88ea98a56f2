import { createHash } from "node:crypto";
import type { CacheMissReason, Diagnostics } from "@anthropic-ai/sdk/resources/messages/messages.js";
import type { MessagesRequest } from "../request/request.ts";
import { countPromptTokens } from "./prompt-tokens.ts";

/** How many answered requests can still be compared with. */
const REMEMBERED = 10_000;

/** Compares a request with an earlier one that it names, as the API's cache diagnostics do. */
export interface DiagnosticsLog {
  /** What changed since the request that `diagnostics.previous_message_id` names; `null` when nothing did. */
  compare(request: MessagesRequest): Diagnostics | null;
  /** Keeps a fingerprint of the request that the message answers. */
  remember(messageId: string, request: MessagesRequest): void;
}

interface Fingerprint {
  readonly model: string;
  readonly system: string;
  readonly tools: string;
  readonly messages: readonly string[];
  readonly settings: string;
  readonly tokens: number;
}

/** A log without entries. */
export function createDiagnosticsLog(): DiagnosticsLog {
  const known = new Map<string, Fingerprint>();
  return {
    compare(request) {
      const previousId = request.diagnostics?.previous_message_id;
      if (!previousId) return null;
      const previous = known.get(previousId);
      if (!previous) return { cache_miss_reason: { type: "previous_message_not_found" } };
      const reason = findReason(previous, fingerprint(request));
      return reason && { cache_miss_reason: reason };
    },
    remember(messageId, request) {
      if (request.diagnostics === undefined || request.diagnostics === null) return;
      known.set(messageId, fingerprint(request));
      const [oldest] = known.keys();
      if (known.size > REMEMBERED && oldest !== undefined) known.delete(oldest);
    },
  };
}

function findReason(previous: Fingerprint, current: Fingerprint): CacheMissReason | null {
  const missed = { cache_missed_input_tokens: previous.tokens };
  if (previous.model !== current.model) return { type: "model_changed", ...missed };
  if (previous.system !== current.system) return { type: "system_changed", ...missed };
  if (previous.tools !== current.tools) return { type: "tools_changed", ...missed };
  if (previous.messages.some((hash, index) => current.messages[index] !== hash)) {
    return { type: "messages_changed", ...missed };
  }
  return previous.settings === current.settings ? null : { type: "unavailable" };
}

function fingerprint(request: MessagesRequest): Fingerprint {
  return {
    model: hash([request.model, request.speed ?? "standard"]),
    system: hash(request.system ?? null),
    tools: hash(request.tools ?? []),
    messages: request.messages.map(hash),
    settings: hash([request.thinking ?? null, request.tool_choice ?? null, request.output_config ?? null]),
    tokens: countPromptTokens(request),
  };
}

function hash(value: unknown): string {
  const json = JSON.stringify(value, (key, member) => (key === "cache_control" ? undefined : member));
  return createHash("sha256").update(json).digest("base64");
}
