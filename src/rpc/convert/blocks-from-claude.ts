import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import {
  type CacheControlSchema,
  CacheTtl,
  type Citation,
  CitationSchema,
  type ContentBlock,
  ContentBlockSchema,
  type DocumentBlockSchema,
  type MediaSourceSchema,
  OversizedImage,
  type ToolCallerSchema,
} from "../../../gen/parley/v1/content_pb.js";
import { membersOfValid, objectText } from "../../upstream/raw-json.ts";
import { Mismatch, Reader } from "./reader.ts";

type Kind = NonNullable<MessageInitShape<typeof ContentBlockSchema>["kind"]>;

/** A content block from the exact JSON text of Claude's. */
export function blockFromClaude(json: string): ContentBlock {
  return blockFromMembers(membersOfValid(json));
}

/** A content block from the members of Claude's. What does not fit a message of the proto comes out as opaque. */
export function blockFromMembers(source: ReadonlyMap<string, string>): ContentBlock {
  const reader = new Reader(source);
  let type = "";
  try {
    type = reader.string("type");
    const kind = kindOf(type, reader);
    if (kind !== undefined) {
      const cacheControl = reader.attempt("cache_control", readCacheControl);
      return create(ContentBlockSchema, { kind, cacheControl, extraJson: reader.extraJson() });
    }
  } catch (error) {
    if (!(error instanceof Mismatch)) throw error;
  }
  return create(ContentBlockSchema, { kind: { case: "opaque", value: { type, json: objectText(source) } } });
}

function kindOf(type: string, reader: Reader): Kind | undefined {
  switch (type) {
    case "text":
      return {
        case: "text",
        value: { text: reader.string("text"), citations: reader.list("citations").map(citationFromClaude) },
      };
    case "image":
      return {
        case: "image",
        value: { source: readMedia(required(reader.nested("source"))), oversizedImage: readOversizedImage(reader) },
      };
    case "document":
      return { case: "document", value: readDocument(reader) };
    case "search_result":
      return {
        case: "searchResult",
        value: {
          source: reader.string("source"),
          title: reader.string("title"),
          content: reader.list("content").map(blockFromClaude),
          citationsEnabled: readCitationsEnabled(reader),
        },
      };
    case "thinking":
      return {
        case: "thinking",
        value: { thinking: reader.string("thinking"), signature: reader.string("signature") },
      };
    case "redacted_thinking":
      return { case: "redactedThinking", value: { data: reader.string("data") } };
    case "tool_use":
      return { case: "toolUse", value: { ...readCall(reader), toolsetName: reader.optionalString("toolset_name") } };
    case "tool_result":
      return {
        case: "toolResult",
        value: {
          toolUseId: reader.string("tool_use_id"),
          ...readTextOrBlocks(reader),
          isError: reader.optionalBoolean("is_error") ?? false,
          toolsetName: reader.optionalString("toolset_name"),
        },
      };
    case "server_tool_use":
      return { case: "serverToolUse", value: readCall(reader) };
    case "container_upload":
      return { case: "containerUpload", value: { fileId: reader.string("file_id") } };
    default:
      if (!type.endsWith("_tool_result")) return undefined;
      return {
        case: "serverToolResult",
        value: {
          type,
          toolUseId: required(reader.optionalString("tool_use_id")),
          contentJson: required(reader.raw("content")),
          caller: readCaller(reader),
        },
      };
  }
}

function readCall(reader: Reader) {
  return {
    id: reader.string("id"),
    name: reader.string("name"),
    inputJson: reader.exact("input") ?? "",
    caller: readCaller(reader),
  };
}

function readCaller(reader: Reader): MessageInitShape<typeof ToolCallerSchema> | undefined {
  const caller = reader.nested("caller");
  return caller && { type: caller.string("type"), toolId: caller.string("tool_id") };
}

/** The shorthand, or blocks. An empty shorthand cannot be told from none. */
function readTextOrBlocks(reader: Reader): { text?: string; content?: ContentBlock[] } {
  const content = reader.raw("content");
  if (content === undefined) return {};
  if (content === '""') throw new Mismatch("content is empty");
  return content.startsWith('"')
    ? { text: reader.string("content") }
    : { content: reader.list("content").map(blockFromClaude) };
}

function readCitationsEnabled(reader: Reader): boolean | undefined {
  return reader.nested("citations")?.optionalBoolean("enabled");
}

function readCacheControl(reader: Reader): MessageInitShape<typeof CacheControlSchema> | undefined {
  const control = reader.nested("cache_control");
  if (control === undefined) return undefined;
  if (control.string("type") !== "ephemeral") throw new Mismatch("cache_control.type");
  switch (control.optionalString("ttl")) {
    case undefined:
      return { ttl: CacheTtl.CACHE_TTL_UNSPECIFIED };
    case "5m":
      return { ttl: CacheTtl.CACHE_TTL_5M };
    case "1h":
      return { ttl: CacheTtl.CACHE_TTL_1H };
    default:
      throw new Mismatch("cache_control.ttl");
  }
}

function readMedia(source: Reader): MessageInitShape<typeof MediaSourceSchema> {
  const type = source.string("type");
  switch (type) {
    case "base64":
      return {
        source: { case: "data", value: readBase64(source.string("data")) },
        mediaType: source.string("media_type"),
      };
    case "url":
      return { source: { case: "url", value: source.string("url") } };
    case "file":
      return { source: { case: "fileId", value: source.string("file_id") } };
    default:
      throw new Mismatch(`source of type ${type}`);
  }
}

/** Only what comes out the same again counts as base64. */
function readBase64(text: string): Uint8Array {
  try {
    const bytes = base64Decode(text);
    if (base64Encode(bytes) === text) return bytes;
  } catch {
    // Falls through: it is not base64 at all.
  }
  throw new Mismatch("not canonical base64");
}

function readOversizedImage(reader: Reader): OversizedImage {
  switch (reader.nested("transformations")?.optionalString("oversized_image")) {
    case undefined:
      return OversizedImage.UNSPECIFIED;
    case "downsize":
      return OversizedImage.DOWNSIZE;
    case "error":
      return OversizedImage.ERROR;
    default:
      throw new Mismatch("transformations.oversized_image");
  }
}

function readDocument(reader: Reader): MessageInitShape<typeof DocumentBlockSchema> {
  return {
    source: readDocumentSource(required(reader.nested("source"))),
    title: reader.optionalString("title"),
    context: reader.optionalString("context"),
    citationsEnabled: readCitationsEnabled(reader),
  };
}

function readDocumentSource(source: Reader): NonNullable<MessageInitShape<typeof DocumentBlockSchema>["source"]> {
  switch (source.string("type")) {
    case "text":
      if (source.string("media_type") !== "text/plain") throw new Mismatch("source.media_type");
      return { case: "plainText", value: source.string("data") };
    case "content":
      return { case: "content", value: readTextOrBlocks(source) };
    default:
      return { case: "media", value: readMedia(source) };
  }
}

/** A citation from the exact JSON text of Claude's. */
export function citationFromClaude(json: string): Citation {
  const reader = Reader.of(json);
  try {
    const location = locationOf(reader);
    if (location !== undefined) {
      return create(CitationSchema, {
        citedText: reader.string("cited_text"),
        location,
        extraJson: reader.extraJson(),
      });
    }
  } catch (error) {
    if (!(error instanceof Mismatch)) throw error;
  }
  return create(CitationSchema, { extraJson: json });
}

function locationOf(reader: Reader): NonNullable<MessageInitShape<typeof CitationSchema>["location"]> | undefined {
  const document = () => ({
    documentIndex: reader.int("document_index"),
    documentTitle: reader.optionalString("document_title"),
    fileId: reader.optionalString("file_id"),
  });
  const blocks = () => ({
    startBlockIndex: reader.int("start_block_index"),
    endBlockIndex: reader.int("end_block_index"),
  });
  switch (reader.string("type")) {
    case "char_location":
      return {
        case: "charLocation",
        value: {
          ...document(),
          startCharIndex: reader.int("start_char_index"),
          endCharIndex: reader.int("end_char_index"),
        },
      };
    case "page_location":
      return {
        case: "pageLocation",
        value: {
          ...document(),
          startPageNumber: reader.int("start_page_number"),
          endPageNumber: reader.int("end_page_number"),
        },
      };
    case "content_block_location":
      return { case: "contentBlockLocation", value: { ...document(), ...blocks() } };
    case "web_search_result_location":
      return {
        case: "webSearchResultLocation",
        value: {
          url: reader.string("url"),
          title: reader.optionalString("title"),
          encryptedIndex: reader.string("encrypted_index"),
        },
      };
    case "search_result_location":
      return {
        case: "searchResultLocation",
        value: {
          source: reader.string("source"),
          title: reader.optionalString("title"),
          searchResultIndex: reader.int("search_result_index"),
          ...blocks(),
        },
      };
    default:
      return undefined;
  }
}

/** A member without which a typed message would say something else than Claude did. */
function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Mismatch("a member is missing");
  return value;
}
