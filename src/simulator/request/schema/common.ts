import type {
  CacheControlEphemeral,
  CitationCharLocation,
  CitationContentBlockLocation,
  CitationPageLocation,
  CitationSearchResultLocationParam,
  CitationsConfigParam,
  CitationWebSearchResultLocationParam,
  DirectCaller,
  ServerToolCaller,
  ServerToolCaller20260120,
  TextBlockParam,
  TextCitationParam,
  ToolUseCaller,
} from "@anthropic-ai/sdk/resources/messages/messages.js";
import { z } from "zod";
import { exact, tagged } from "./primitives.ts";

/** `cache_control` of a block, a tool or the request. */
export const cacheControl = tagged<CacheControlEphemeral["type"]>({
  ephemeral: exact<CacheControlEphemeral>({
    type: z.literal("ephemeral"),
    ttl: z.enum(["5m", "1h"]).optional(),
  }),
}).nullish();

export const citationsConfig = exact<CitationsConfigParam>({ enabled: z.boolean().optional() });

const count = z.int().min(0);

/** Only answers carry it; a block of an answer can be sent back as it is. */
const fileId = z.string().nullish();

const citation = tagged<TextCitationParam["type"]>({
  char_location: exact<CitationCharLocation>({
    type: z.literal("char_location"),
    cited_text: z.string(),
    document_index: count,
    document_title: z.string().nullable(),
    file_id: fileId,
    start_char_index: count,
    end_char_index: count,
  }),
  page_location: exact<CitationPageLocation>({
    type: z.literal("page_location"),
    cited_text: z.string(),
    document_index: count,
    document_title: z.string().nullable(),
    file_id: fileId,
    start_page_number: z.int().min(1),
    end_page_number: z.int().min(1),
  }),
  content_block_location: exact<CitationContentBlockLocation>({
    type: z.literal("content_block_location"),
    cited_text: z.string(),
    document_index: count,
    document_title: z.string().nullable(),
    file_id: fileId,
    start_block_index: count,
    end_block_index: count,
  }),
  web_search_result_location: exact<CitationWebSearchResultLocationParam>({
    type: z.literal("web_search_result_location"),
    cited_text: z.string(),
    encrypted_index: z.string(),
    title: z.string().nullable(),
    url: z.string(),
  }),
  search_result_location: exact<CitationSearchResultLocationParam>({
    type: z.literal("search_result_location"),
    cited_text: z.string(),
    search_result_index: count,
    source: z.string(),
    start_block_index: count,
    end_block_index: count,
    title: z.string().nullable(),
  }),
});

export const textBlock = exact<TextBlockParam>({
  type: z.literal("text"),
  text: z.string(),
  cache_control: cacheControl,
  citations: z.array(citation).nullish(),
});

/** Who called a tool. */
export const caller = tagged<ToolUseCaller["type"]>({
  direct: exact<DirectCaller>({ type: z.literal("direct") }),
  code_execution_20250825: exact<ServerToolCaller>({
    type: z.literal("code_execution_20250825"),
    tool_id: z.string(),
  }),
  code_execution_20260120: exact<ServerToolCaller20260120>({
    type: z.literal("code_execution_20260120"),
    tool_id: z.string(),
  }),
}).optional();
