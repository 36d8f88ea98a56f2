import type {
  Base64ImageSource,
  Base64PDFSource,
  BrowserStateBlockParam,
  BrowserStateChange,
  BrowserStateChangeDownloadCompleted,
  BrowserStateChangeDownloadFailed,
  BrowserStateChangeDownloadStarted,
  BrowserStateChangeTabOpened,
  BrowserStateTabEntry,
  ContainerUploadBlockParam,
  ContentBlockParam,
  ContentBlockSource,
  DocumentBlockParam,
  FileDocumentSource,
  ImageBlockParam,
  ImageTransformationsParam,
  PlainTextSource,
  RedactedThinkingBlockParam,
  SearchResultBlockParam,
  ThinkingBlockParam,
  ToolReferenceBlockParam,
  ToolResultBlockParam,
  ToolUseBlockParam,
  URLPDFSource,
} from "@anthropic-ai/sdk/resources/messages/messages.js";
import { z } from "zod";
import { cacheControl, caller, citationsConfig, textBlock } from "./common.ts";
import { anyObject, exact, stringOr, tagged } from "./primitives.ts";
import { serverToolBlocks } from "./server-tools.ts";

/** One scan, because a regular expression for whole base64 groups runs out of stack on large files. */
const base64 = z
  .string()
  .min(1)
  .refine((data) => data.length % 4 === 0 && !/[^A-Za-z0-9+/=]/.test(data), "Input should be valid base64");
const fileSource = exact<FileDocumentSource>({ type: z.literal("file"), file_id: z.string() });
const urlSource = exact<URLPDFSource>({ type: z.literal("url"), url: z.string().min(1) });

const image = exact<ImageBlockParam>({
  type: z.literal("image"),
  source: tagged<ImageBlockParam["source"]["type"]>({
    base64: exact<Base64ImageSource>({
      type: z.literal("base64"),
      media_type: z.enum(["image/jpeg", "image/png", "image/gif", "image/webp"]),
      data: base64,
    }),
    url: urlSource,
    file: fileSource,
  }),
  cache_control: cacheControl,
  transformations: exact<ImageTransformationsParam>({
    oversized_image: z.enum(["downsize", "error"]).optional(),
  }).nullish(),
});

/** A document a user sends, or one that web fetch found. */
export const document = exact<DocumentBlockParam>({
  type: z.literal("document"),
  source: tagged<DocumentBlockParam["source"]["type"]>({
    base64: exact<Base64PDFSource>({
      type: z.literal("base64"),
      media_type: z.literal("application/pdf"),
      data: base64,
    }),
    text: exact<PlainTextSource>({ type: z.literal("text"), media_type: z.literal("text/plain"), data: z.string() }),
    content: exact<ContentBlockSource>({
      type: z.literal("content"),
      content: stringOr(z.array(tagged({ text: textBlock, image }))),
    }),
    url: urlSource,
    file: fileSource,
  }),
  cache_control: cacheControl,
  citations: citationsConfig.nullish(),
  context: z.string().nullish(),
  title: z.string().nullish(),
});

const searchResult = exact<SearchResultBlockParam>({
  type: z.literal("search_result"),
  content: z.array(textBlock),
  source: z.string(),
  title: z.string(),
  cache_control: cacheControl,
  citations: citationsConfig.optional(),
});

const download = { download_id: z.string(), url: z.string() };

const browserState = exact<BrowserStateBlockParam>({
  type: z.literal("browser_state"),
  cache_control: cacheControl,
  tabs: z.array(
    exact<BrowserStateTabEntry>({
      tab_id: z.string(),
      title: z.string(),
      url: z.string(),
      active: z.boolean().optional(),
    }),
  ),
  state_changes: z
    .array(
      tagged<BrowserStateChange["type"]>({
        tab_opened: exact<BrowserStateChangeTabOpened>({ type: z.literal("tab_opened"), tab_id: z.string() }),
        download_started: exact<BrowserStateChangeDownloadStarted>({
          ...download,
          type: z.literal("download_started"),
        }),
        download_completed: exact<BrowserStateChangeDownloadCompleted>({
          ...download,
          type: z.literal("download_completed"),
          path: z.string().nullish(),
          size_bytes: z.int().min(0).nullish(),
        }),
        download_failed: exact<BrowserStateChangeDownloadFailed>({
          ...download,
          type: z.literal("download_failed"),
          error: z.string().nullish(),
        }),
      }),
    )
    .min(1)
    .nullish(),
});

const toolReference = exact<ToolReferenceBlockParam>({
  type: z.literal("tool_reference"),
  tool_name: z.string(),
  cache_control: cacheControl,
});

type ToolResultContent = Exclude<NonNullable<ToolResultBlockParam["content"]>, string>[number];

const toolResult = exact<ToolResultBlockParam>({
  type: z.literal("tool_result"),
  tool_use_id: z.string().regex(/^[a-zA-Z0-9_-]+$/),
  cache_control: cacheControl,
  content: stringOr(
    z.array(
      tagged<ToolResultContent["type"]>({
        text: textBlock,
        image,
        document,
        search_result: searchResult,
        tool_reference: toolReference,
        browser_state: browserState,
      }),
    ),
  ).optional(),
  is_error: z.boolean().optional(),
  toolset_name: z.string().nullish(),
});

const toolUse = exact<ToolUseBlockParam>({
  type: z.literal("tool_use"),
  id: z.string().regex(/^[a-zA-Z0-9_-]+$/),
  name: z.string().min(1).max(200),
  input: anyObject,
  cache_control: cacheControl,
  caller,
  toolset_name: z.string().nullish(),
});

/** A block of a user or assistant message. */
export const contentBlock = tagged<ContentBlockParam["type"]>({
  text: textBlock,
  image,
  document,
  search_result: searchResult,
  thinking: exact<ThinkingBlockParam>({
    type: z.literal("thinking"),
    thinking: z.string(),
    signature: z.string(),
  }),
  redacted_thinking: exact<RedactedThinkingBlockParam>({ type: z.literal("redacted_thinking"), data: z.string() }),
  tool_use: toolUse,
  tool_result: toolResult,
  container_upload: exact<ContainerUploadBlockParam>({
    type: z.literal("container_upload"),
    file_id: z.string(),
    cache_control: cacheControl,
  }),
  ...serverToolBlocks(document),
});
