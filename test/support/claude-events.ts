import fc from "fast-check";
import { claudeBlock, claudeCitation } from "./claude-blocks.ts";
import { int, list, literal, nullable, object, optional, text } from "./claude-json.ts";
import { jsonText, objectJsonText } from "./json-text.ts";

const named = fc.string({ minLength: 1 }).map((value) => JSON.stringify(value));
const unknown = optional(jsonText);
const counted = {
  cache_creation_input_tokens: int,
  cache_read_input_tokens: int,
  output_tokens_details: optional(nullable(object({ thinking_tokens: int, other_tokens: unknown }))),
  server_tool_use: optional(nullable(object({ web_search_requests: int, web_fetch_requests: int, scans: unknown }))),
  x_new: unknown,
};
const usage = object({
  input_tokens: int,
  output_tokens: int,
  cache_creation: optional(nullable(object({ ephemeral_5m_input_tokens: int, ephemeral_1h_input_tokens: int }))),
  inference_geo: optional(nullable(named)),
  service_tier: optional(nullable(named)),
  speed: optional(nullable(named)),
  ...counted,
});
const container = nullable(
  object({
    id: text,
    expires_at: literal("2026-11-22T10:00:00.123Z"),
    skills: optional(nullable(list(object({ skill_id: text, type: named, version: text }), 1))),
    region: unknown,
  }),
);
const stopDetails = nullable(
  object({ type: literal("refusal"), category: nullable(text), explanation: nullable(text), policy: unknown }),
);

const message = object({
  id: text,
  type: literal("message"),
  role: literal("assistant"),
  model: text,
  content: fc.constant("[]"),
  stop_reason: fc.constant("null"),
  stop_sequence: fc.constant("null"),
  stop_details: optional(fc.constant("null")),
  container: optional(nullable(objectJsonText)),
  diagnostics: optional(nullable(objectJsonText)),
  usage,
  x_new: unknown,
});

const delta = fc.oneof(
  object({ type: literal("text_delta"), text }),
  object({ type: literal("text_delta"), text, logprob: jsonText }),
  object({ type: literal("input_json_delta"), partial_json: text, x_new: unknown }),
  object({ type: literal("thinking_delta"), thinking: text, x_new: unknown }),
  object({ type: literal("signature_delta"), signature: text, x_new: unknown }),
  object({ type: literal("citations_delta"), citation: claudeCitation, x_new: unknown }),
  object({ type: literal("of_tomorrow_delta"), value: jsonText }),
);

/** The exact JSON text of every kind of event in the SDK's types, of an invented one, and of known kinds with members
 * that nobody knows yet. */
export const claudeEvent: fc.Arbitrary<string> = fc.oneof(
  object({ type: literal("message_start"), message, x_new: unknown }),
  object({ type: literal("content_block_start"), index: int, content_block: claudeBlock, x_new: unknown }),
  object({ type: literal("content_block_delta"), index: int, delta, x_new: unknown }),
  object({ type: literal("content_block_stop"), index: int, x_new: unknown }),
  object({
    type: literal("message_delta"),
    delta: object({
      stop_reason: nullable(named),
      stop_sequence: optional(nullable(text)),
      stop_details: optional(stopDetails),
      container: optional(container),
      x_new: unknown,
    }),
    usage: object({ input_tokens: int, output_tokens: int, ...counted }),
    context_management: unknown,
  }),
  object({ type: literal("message_stop"), x_new: unknown }),
  object({ type: literal("of_tomorrow"), value: jsonText, index: optional(int) }),
);
