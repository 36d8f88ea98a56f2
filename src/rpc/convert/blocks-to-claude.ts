import type {
  CacheControlEphemeral,
  ContentBlockParam,
  DocumentBlockParam,
  ImageBlockParam,
  MessageParam,
  TextCitationParam,
  ToolUseCaller,
} from "@anthropic-ai/sdk/resources/messages";
import { base64Encode } from "@bufbuild/protobuf/wire";
import {
  type CacheControl,
  CacheTtl,
  type Citation,
  type ContentBlock,
  type DocumentBlock,
  type ImageBlock,
  type MediaSource,
  type Message,
  OversizedImage,
  Role,
  type ToolCaller,
} from "../../../gen/parley/v1/content_pb.js";
import { invalidField } from "../../errors/parley-error.ts";
import { RawJson } from "../../upstream/raw-json.ts";
import { objectMembers, rawValue, withExtra } from "./exact.ts";

const roles = { [Role.USER]: "user", [Role.ASSISTANT]: "assistant", [Role.SYSTEM]: "system" } as const;

/** A message for Claude. `field` is its path in the request, for errors. */
export function toClaudeMessage(message: Message, field: string): MessageParam {
  const role = roles[message.role as keyof typeof roles];
  return { role, content: textOrBlocks(message, field) } as MessageParam;
}

/** What a message or a block of text and blocks holds: the blocks, or the shorthand. */
export function textOrBlocks(
  holder: { readonly text: string; readonly content: readonly ContentBlock[] },
  field: string,
): string | ContentBlockParam[] {
  return holder.text !== "" ? holder.text : toClaudeBlocks(holder.content, `${field}.content`);
}

function toClaudeBlocks(blocks: readonly ContentBlock[], field: string): ContentBlockParam[] {
  return blocks.map((block, index) => toClaudeBlock(block, `${field}[${index}]`));
}

/** A content block for Claude. */
export function toClaudeBlock(block: ContentBlock, field: string): ContentBlockParam {
  if (block.kind.case === "opaque") {
    const { type, json } = block.kind.value;
    const told = objectMembers(json, `${field}.opaque.json`).get("type");
    if (told === undefined || JSON.parse(told) !== type) {
      throw invalidField(`${field}.opaque.json`, "must have a type member that equals the field type");
    }
    // The types of the SDK end where opaque blocks begin.
    return new RawJson(json) as unknown as ContentBlockParam;
  }
  const typed = typedBlock(block, field);
  const param =
    block.cacheControl === undefined ? typed : { ...typed, cache_control: toCacheControl(block.cacheControl) };
  return withExtra(param as ContentBlockParam, block.extraJson, `${field}.extra_json`);
}

function typedBlock({ kind }: ContentBlock, field: string): ContentBlockParam {
  switch (kind.case) {
    case "text": {
      const { text, citations } = kind.value;
      if (citations.length === 0) return { type: "text", text };
      return { type: "text", text, citations: citations.map((c, i) => toCitation(c, `${field}.text.citations[${i}]`)) };
    }
    case "image":
      return toImage(kind.value);
    case "document":
      return toDocument(kind.value, `${field}.document`);
    case "searchResult": {
      const { source, title, content, citationsEnabled } = kind.value;
      return {
        type: "search_result",
        source,
        title,
        content: toClaudeBlocks(content, `${field}.search_result.content`) as never,
        ...(citationsEnabled !== undefined && { citations: { enabled: citationsEnabled } }),
      };
    }
    case "thinking":
      return { type: "thinking", thinking: kind.value.thinking, signature: kind.value.signature };
    case "redactedThinking":
      return { type: "redacted_thinking", data: kind.value.data };
    case "toolUse": {
      const { id, name, inputJson, toolsetName, caller } = kind.value;
      return {
        type: "tool_use",
        id,
        name,
        input: rawValue(inputJson || "{}", `${field}.tool_use.input_json`),
        ...(toolsetName !== undefined && { toolset_name: toolsetName }),
        ...(caller !== undefined && { caller: toCaller(caller) }),
      };
    }
    case "toolResult": {
      const { toolUseId, content, text, isError, toolsetName } = kind.value;
      return {
        type: "tool_result",
        tool_use_id: toolUseId,
        ...((content.length > 0 || text !== "") && {
          content: textOrBlocks({ text, content }, `${field}.tool_result`) as never,
        }),
        ...(isError && { is_error: true }),
        ...(toolsetName !== undefined && { toolset_name: toolsetName }),
      };
    }
    case "serverToolUse": {
      const { id, name, inputJson, caller } = kind.value;
      return {
        type: "server_tool_use",
        id,
        name: name as "web_search",
        input: rawValue(inputJson || "{}", `${field}.server_tool_use.input_json`),
        ...(caller !== undefined && { caller: toCaller(caller) }),
      };
    }
    case "serverToolResult": {
      const { type, toolUseId, contentJson, caller } = kind.value;
      return {
        type: type as "web_search_tool_result",
        tool_use_id: toolUseId,
        content: rawValue(contentJson, `${field}.server_tool_result.content_json`) as never,
        ...(caller !== undefined && { caller: toCaller(caller) }),
      };
    }
    case "containerUpload":
      return { type: "container_upload", file_id: kind.value.fileId };
    default:
      throw invalidField(field, "has no kind");
  }
}

export function toCacheControl({ ttl }: CacheControl): CacheControlEphemeral {
  switch (ttl) {
    case CacheTtl.CACHE_TTL_5M:
      return { type: "ephemeral", ttl: "5m" };
    case CacheTtl.CACHE_TTL_1H:
      return { type: "ephemeral", ttl: "1h" };
    default:
      return { type: "ephemeral" };
  }
}

function toCaller({ type, toolId }: ToolCaller): ToolUseCaller {
  return (toolId === "" ? { type } : { type, tool_id: toolId }) as ToolUseCaller;
}

function toMediaSource({ source, mediaType }: MediaSource): object {
  switch (source.case) {
    case "data":
      return { type: "base64", media_type: mediaType, data: base64Encode(source.value) };
    case "url":
      return { type: "url", url: source.value };
    default:
      return { type: "file", file_id: source.value };
  }
}

const oversizedImages = { [OversizedImage.DOWNSIZE]: "downsize", [OversizedImage.ERROR]: "error" } as const;

function toImage({ source, oversizedImage }: ImageBlock): ImageBlockParam {
  const oversized_image = oversizedImages[oversizedImage as keyof typeof oversizedImages];
  return {
    type: "image",
    source: toMediaSource(source as MediaSource) as ImageBlockParam["source"],
    ...(oversized_image !== undefined && { transformations: { oversized_image } }),
  };
}

function toDocument({ source, title, context, citationsEnabled }: DocumentBlock, field: string): DocumentBlockParam {
  return {
    type: "document",
    source: documentSource(source, field),
    ...(title !== undefined && { title }),
    ...(context !== undefined && { context }),
    ...(citationsEnabled !== undefined && { citations: { enabled: citationsEnabled } }),
  };
}

function documentSource(source: DocumentBlock["source"], field: string): DocumentBlockParam["source"] {
  switch (source.case) {
    case "media":
      return toMediaSource(source.value) as DocumentBlockParam["source"];
    case "content":
      return { type: "content", content: textOrBlocks(source.value, `${field}.content`) as never };
    default:
      return { type: "text", media_type: "text/plain", data: source.value ?? "" };
  }
}

function toCitation({ citedText: cited_text, location, extraJson }: Citation, field: string): TextCitationParam {
  return withExtra(citationLocation(location, cited_text), extraJson, `${field}.extra_json`) as TextCitationParam;
}

function citationLocation({ case: kind, value }: Citation["location"], cited_text: string): object {
  switch (kind) {
    case "charLocation":
      return {
        type: "char_location",
        cited_text,
        ...document(value),
        start_char_index: value.startCharIndex,
        end_char_index: value.endCharIndex,
      };
    case "pageLocation":
      return {
        type: "page_location",
        cited_text,
        ...document(value),
        start_page_number: value.startPageNumber,
        end_page_number: value.endPageNumber,
      };
    case "contentBlockLocation":
      return {
        type: "content_block_location",
        cited_text,
        ...document(value),
        start_block_index: value.startBlockIndex,
        end_block_index: value.endBlockIndex,
      };
    case "webSearchResultLocation":
      return {
        type: "web_search_result_location",
        cited_text,
        url: value.url,
        title: value.title ?? null,
        encrypted_index: value.encryptedIndex,
      };
    case "searchResultLocation":
      return {
        type: "search_result_location",
        cited_text,
        source: value.source,
        title: value.title ?? null,
        search_result_index: value.searchResultIndex,
        start_block_index: value.startBlockIndex,
        end_block_index: value.endBlockIndex,
      };
    default:
      return {};
  }
}

function document(location: {
  documentIndex: number;
  documentTitle?: string | undefined;
  fileId?: string | undefined;
}): object {
  return {
    document_index: location.documentIndex,
    document_title: location.documentTitle ?? null,
    ...(location.fileId !== undefined && { file_id: location.fileId }),
  };
}
