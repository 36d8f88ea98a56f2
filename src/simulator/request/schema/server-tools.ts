import type {
  BashCodeExecutionOutputBlockParam,
  BashCodeExecutionResultBlockParam,
  BashCodeExecutionToolResultBlockParam,
  BashCodeExecutionToolResultErrorParam,
  CodeExecutionOutputBlockParam,
  CodeExecutionResultBlockParam,
  CodeExecutionToolResultBlockParam,
  CodeExecutionToolResultErrorParam,
  EncryptedCodeExecutionResultBlockParam,
  ServerToolUseBlockParam,
  TextEditorCodeExecutionCreateResultBlockParam,
  TextEditorCodeExecutionStrReplaceResultBlockParam,
  TextEditorCodeExecutionToolResultBlockParam,
  TextEditorCodeExecutionToolResultErrorParam,
  TextEditorCodeExecutionViewResultBlockParam,
  ToolReferenceBlockParam,
  ToolSearchToolResultBlockParam,
  ToolSearchToolResultErrorParam,
  ToolSearchToolSearchResultBlockParam,
  WebFetchBlockParam,
  WebFetchToolResultBlockParam,
  WebFetchToolResultErrorBlockParam,
  WebSearchResultBlockParam,
  WebSearchToolRequestErrorObject,
  WebSearchToolResultBlockParam,
} from "@anthropic-ai/sdk/resources/messages/messages.js";
import { z } from "zod";
import { cacheControl, caller } from "./common.ts";
import { anyObject, byValue, exact, tagged } from "./primitives.ts";

const COMMON_ERRORS = ["invalid_tool_input", "unavailable", "too_many_requests", "execution_time_exceeded"] as const;

const serverToolId = z.string().regex(/^srvtoolu_[a-zA-Z0-9_]+$/);
const lineNumber = z.int().nullish();

const serverToolUse = exact<ServerToolUseBlockParam>({
  type: z.literal("server_tool_use"),
  id: serverToolId,
  name: z.enum([
    "web_search",
    "web_fetch",
    "code_execution",
    "bash_code_execution",
    "text_editor_code_execution",
    "tool_search_tool_regex",
    "tool_search_tool_bm25",
  ] satisfies ServerToolUseBlockParam["name"][]),
  input: anyObject,
  cache_control: cacheControl,
  caller,
});

const webSearchResults = z.array(
  exact<WebSearchResultBlockParam>({
    type: z.literal("web_search_result"),
    encrypted_content: z.string(),
    title: z.string(),
    url: z.string(),
    page_age: z.string().nullish(),
  }),
);

const webSearchError = tagged<WebSearchToolRequestErrorObject["type"]>({
  web_search_tool_result_error: exact<WebSearchToolRequestErrorObject>({
    type: z.literal("web_search_tool_result_error"),
    error_code: z.enum([
      "invalid_tool_input",
      "unavailable",
      "max_uses_exceeded",
      "too_many_requests",
      "query_too_long",
      "request_too_large",
    ]),
  }),
});

const webSearchToolResult = exact<WebSearchToolResultBlockParam>({
  type: z.literal("web_search_tool_result"),
  tool_use_id: serverToolId,
  content: byValue((value) => ({ schema: Array.isArray(value) ? webSearchResults : webSearchError })),
  cache_control: cacheControl,
  caller,
});

const webFetchToolResult = (document: z.ZodType) =>
  exact<WebFetchToolResultBlockParam>({
    type: z.literal("web_fetch_tool_result"),
    tool_use_id: serverToolId,
    content: tagged<WebFetchToolResultBlockParam["content"]["type"]>({
      web_fetch_result: exact<WebFetchBlockParam>({
        type: z.literal("web_fetch_result"),
        content: document,
        url: z.string(),
        retrieved_at: z.string().nullish(),
      }),
      web_fetch_tool_result_error: exact<WebFetchToolResultErrorBlockParam>({
        type: z.literal("web_fetch_tool_result_error"),
        error_code: z.enum([
          "invalid_tool_input",
          "url_too_long",
          "url_not_allowed",
          "url_not_in_prior_context",
          "url_not_accessible",
          "unsupported_content_type",
          "too_many_requests",
          "max_uses_exceeded",
          "unavailable",
          "content_too_large",
        ]),
      }),
    }),
    cache_control: cacheControl,
    caller,
  });

const codeExecutionOutput = z.array(
  exact<CodeExecutionOutputBlockParam>({ type: z.literal("code_execution_output"), file_id: z.string() }),
);

const codeExecutionToolResult = exact<CodeExecutionToolResultBlockParam>({
  type: z.literal("code_execution_tool_result"),
  tool_use_id: serverToolId,
  content: tagged<CodeExecutionToolResultBlockParam["content"]["type"]>({
    code_execution_result: exact<CodeExecutionResultBlockParam>({
      type: z.literal("code_execution_result"),
      content: codeExecutionOutput,
      return_code: z.int(),
      stderr: z.string(),
      stdout: z.string(),
    }),
    encrypted_code_execution_result: exact<EncryptedCodeExecutionResultBlockParam>({
      type: z.literal("encrypted_code_execution_result"),
      content: codeExecutionOutput,
      encrypted_stdout: z.string(),
      return_code: z.int(),
      stderr: z.string(),
    }),
    code_execution_tool_result_error: exact<CodeExecutionToolResultErrorParam>({
      type: z.literal("code_execution_tool_result_error"),
      error_code: z.enum(COMMON_ERRORS),
    }),
  }),
  cache_control: cacheControl,
});

const bashCodeExecutionToolResult = exact<BashCodeExecutionToolResultBlockParam>({
  type: z.literal("bash_code_execution_tool_result"),
  tool_use_id: serverToolId,
  content: tagged<BashCodeExecutionToolResultBlockParam["content"]["type"]>({
    bash_code_execution_result: exact<BashCodeExecutionResultBlockParam>({
      type: z.literal("bash_code_execution_result"),
      content: z.array(
        exact<BashCodeExecutionOutputBlockParam>({
          type: z.literal("bash_code_execution_output"),
          file_id: z.string(),
        }),
      ),
      return_code: z.int(),
      stderr: z.string(),
      stdout: z.string(),
    }),
    bash_code_execution_tool_result_error: exact<BashCodeExecutionToolResultErrorParam>({
      type: z.literal("bash_code_execution_tool_result_error"),
      error_code: z.enum([...COMMON_ERRORS, "output_file_too_large"]),
    }),
  }),
  cache_control: cacheControl,
});

const textEditorCodeExecutionToolResult = exact<TextEditorCodeExecutionToolResultBlockParam>({
  type: z.literal("text_editor_code_execution_tool_result"),
  tool_use_id: serverToolId,
  content: tagged<TextEditorCodeExecutionToolResultBlockParam["content"]["type"]>({
    text_editor_code_execution_view_result: exact<TextEditorCodeExecutionViewResultBlockParam>({
      type: z.literal("text_editor_code_execution_view_result"),
      content: z.string(),
      file_type: z.enum(["text", "image", "pdf"]),
      num_lines: lineNumber,
      start_line: lineNumber,
      total_lines: lineNumber,
    }),
    text_editor_code_execution_create_result: exact<TextEditorCodeExecutionCreateResultBlockParam>({
      type: z.literal("text_editor_code_execution_create_result"),
      is_file_update: z.boolean(),
    }),
    text_editor_code_execution_str_replace_result: exact<TextEditorCodeExecutionStrReplaceResultBlockParam>({
      type: z.literal("text_editor_code_execution_str_replace_result"),
      lines: z.array(z.string()).nullish(),
      new_lines: lineNumber,
      new_start: lineNumber,
      old_lines: lineNumber,
      old_start: lineNumber,
    }),
    text_editor_code_execution_tool_result_error: exact<TextEditorCodeExecutionToolResultErrorParam>({
      type: z.literal("text_editor_code_execution_tool_result_error"),
      error_code: z.enum([...COMMON_ERRORS, "file_not_found"]),
      error_message: z.string().nullish(),
    }),
  }),
  cache_control: cacheControl,
});

const toolSearchToolResult = exact<ToolSearchToolResultBlockParam>({
  type: z.literal("tool_search_tool_result"),
  tool_use_id: serverToolId,
  content: tagged<ToolSearchToolResultBlockParam["content"]["type"]>({
    tool_search_tool_search_result: exact<ToolSearchToolSearchResultBlockParam>({
      type: z.literal("tool_search_tool_search_result"),
      tool_references: z.array(
        exact<ToolReferenceBlockParam>({
          type: z.literal("tool_reference"),
          tool_name: z.string(),
          cache_control: cacheControl,
        }),
      ),
    }),
    tool_search_tool_result_error: exact<ToolSearchToolResultErrorParam>({
      type: z.literal("tool_search_tool_result_error"),
      error_code: z.enum(COMMON_ERRORS),
      error_message: z.string().nullish(),
    }),
  }),
  cache_control: cacheControl,
});

/** The calls of Anthropic's own tools and their results, as an assistant message carries them back. */
export const serverToolBlocks = (document: z.ZodType) => ({
  server_tool_use: serverToolUse,
  web_search_tool_result: webSearchToolResult,
  web_fetch_tool_result: webFetchToolResult(document),
  code_execution_tool_result: codeExecutionToolResult,
  bash_code_execution_tool_result: bashCodeExecutionToolResult,
  text_editor_code_execution_tool_result: textEditorCodeExecutionToolResult,
  tool_search_tool_result: toolSearchToolResult,
});
