import fc from "fast-check";
import { int, list, literal, nullable, object, optional, text } from "./claude-json.ts";
import { jsonText, objectJsonText } from "./json-text.ts";

const boolean = fc.boolean().map(String);
const document = { document_index: int, document_title: nullable(text), file_id: optional(nullable(text)) };
const range = { start_block_index: int, end_block_index: int };

/** Every kind of citation of the SDK's types, and an invented one. */
export const claudeCitation: fc.Arbitrary<string> = fc.oneof(
  object({ type: literal("char_location"), cited_text: text, ...document, start_char_index: int, end_char_index: int }),
  object({
    type: literal("page_location"),
    cited_text: text,
    ...document,
    start_page_number: int,
    end_page_number: int,
  }),
  object({ type: literal("content_block_location"), cited_text: text, ...document, ...range }),
  object({
    type: literal("web_search_result_location"),
    cited_text: text,
    url: text,
    title: nullable(text),
    encrypted_index: text,
  }),
  object({
    type: literal("search_result_location"),
    cited_text: text,
    source: text,
    title: nullable(text),
    search_result_index: int,
    ...range,
  }),
  object({
    type: literal("char_location"),
    cited_text: text,
    ...document,
    start_char_index: int,
    end_char_index: int,
    confidence: jsonText,
  }),
  object({ type: literal("audio_location"), cited_text: text, second: jsonText }),
);

const cacheControl = optional(
  nullable(
    object({
      type: literal("ephemeral"),
      ttl: optional(fc.constantFrom('"5m"', '"1h"', '"1d"')),
      scope: optional(jsonText),
    }),
  ),
);
const caller = optional(
  fc.oneof(
    object({ type: literal("direct") }),
    object({ type: literal("code_execution_20260120"), tool_id: literal("srvtoolu_1"), depth: optional(jsonText) }),
  ),
);
const citations = optional(object({ enabled: boolean, style: optional(jsonText) }));
const unknown = optional(jsonText);
const mediaSource = fc.oneof(
  object({ type: literal("base64"), media_type: text, data: fc.base64String().map((data) => JSON.stringify(data)) }),
  object({ type: literal("base64"), media_type: text, data: literal("not base64!") }),
  object({ type: literal("url"), url: text }),
  object({ type: literal("file"), file_id: text, version: optional(jsonText) }),
  object({ type: literal("of_tomorrow"), value: jsonText }),
);

const textBlock = object({
  type: literal("text"),
  text,
  citations: optional(nullable(list(claudeCitation, 1))),
  cache_control: cacheControl,
  x_new: unknown,
});
const image = object({
  type: literal("image"),
  source: mediaSource,
  transformations: optional(nullable(object({ oversized_image: fc.constantFrom('"downsize"', '"error"', '"crop"') }))),
  cache_control: cacheControl,
});
const contentOfText = fc.oneof(text, list(fc.oneof(textBlock, image), 1));
const serverResults = [
  "web_search_tool_result",
  "web_fetch_tool_result",
  "code_execution_tool_result",
  "bash_code_execution_tool_result",
  "text_editor_code_execution_tool_result",
  "tool_search_tool_result",
  "of_tomorrow_tool_result",
];

/** The exact JSON text of every kind of content block in the SDK's types, both ways, of some invented ones, and of
 * known kinds with members that nobody knows yet, or of types that do not fit. */
export const claudeBlock: fc.Arbitrary<string> = fc.oneof(
  textBlock,
  image,
  object({
    type: literal("document"),
    source: fc.oneof(
      mediaSource,
      object({ type: literal("text"), media_type: literal("text/plain"), data: text }),
      object({ type: literal("content"), content: contentOfText }),
    ),
    title: optional(nullable(text)),
    context: optional(nullable(text)),
    citations,
    cache_control: cacheControl,
  }),
  object({
    type: literal("search_result"),
    source: text,
    title: text,
    content: list(textBlock, 1),
    citations,
    cache_control: cacheControl,
  }),
  object({ type: literal("thinking"), thinking: text, signature: text }),
  object({ type: literal("redacted_thinking"), data: text }),
  object({
    type: literal("tool_use"),
    id: text,
    name: text,
    input: objectJsonText,
    caller,
    toolset_name: optional(nullable(text)),
    x_new: unknown,
  }),
  object({
    type: literal("tool_result"),
    tool_use_id: text,
    content: optional(
      fc.oneof(
        text.filter((value) => value !== '""'),
        list(fc.oneof(textBlock, image), 1),
      ),
    ),
    is_error: optional(fc.constant("true")),
    toolset_name: optional(nullable(text)),
    cache_control: cacheControl,
  }),
  object({
    type: literal("server_tool_use"),
    id: text,
    name: text,
    input: objectJsonText,
    caller,
    cache_control: cacheControl,
  }),
  object({
    type: fc.constantFrom(...serverResults).map((type) => JSON.stringify(type)),
    tool_use_id: text,
    content: fc.oneof(objectJsonText, list(objectJsonText)),
    caller,
    x_new: unknown,
  }),
  object({ type: literal("container_upload"), file_id: text }),
  object({ type: literal("tool_reference"), tool_name: text }),
  object({ type: literal("compaction"), content: nullable(text), value: jsonText }),
  object({ type: literal("of_tomorrow"), value: jsonText, other: unknown }),
  object({ type: literal("text"), text: int, x_new: unknown }),
  object({ type: literal("tool_use"), id: int, name: text, input: jsonText }),
);
