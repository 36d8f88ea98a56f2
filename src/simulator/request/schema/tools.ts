import type {
  CodeExecutionTool20260521,
  MemoryTool20250818,
  Tool,
  ToolBash20250124,
  ToolChoice,
  ToolChoiceAny,
  ToolChoiceAuto,
  ToolChoiceNone,
  ToolChoiceTool,
  ToolSearchToolBm25_20251119,
  ToolSearchToolRegex20251119,
  ToolTextEditor20250124,
  ToolTextEditor20250429,
  ToolTextEditor20250728,
  ToolUnion,
  UserLocation,
  WebFetchTool20250910,
  WebFetchTool20260309,
  WebFetchTool20260318,
  WebFetchURLSources,
  WebFetchURLSourceToolReference,
  WebSearchTool20250305,
  WebSearchTool20260318,
} from "@anthropic-ai/sdk/resources/messages/messages.js";
import { z } from "zod";
import { cacheControl, citationsConfig } from "./common.ts";
import { anyObject, exact, tagged } from "./primitives.ts";
import { browserToolset, computerToolset } from "./toolsets.ts";

const common = {
  allowed_callers: z
    .array(z.enum(["direct", "code_execution_20250825", "code_execution_20260120", "code_execution_20260521"]))
    .min(1)
    .optional(),
  cache_control: cacheControl,
  defer_loading: z.boolean().optional(),
  strict: z.boolean().optional(),
};

const clientSide = { ...common, input_examples: z.array(anyObject).optional() };

const inputSchema = z.looseObject({
  type: z.literal("object"),
  properties: anyObject.nullish(),
  required: z.array(z.string()).nullish(),
});

const custom = exact<Tool>({
  ...clientSide,
  type: z.literal("custom").nullish(),
  name: z
    .string()
    .min(1)
    .max(128)
    .regex(/^[a-zA-Z0-9_-]{1,128}$/),
  description: z.string().optional(),
  eager_input_streaming: z.boolean().nullish(),
  input_schema: inputSchema,
});

const codeExecution = (type: string) =>
  exact<CodeExecutionTool20260521>({ ...common, type: z.literal(type), name: z.literal("code_execution") });

const domains = {
  allowed_domains: z.array(z.string().min(1)).nullish(),
  blocked_domains: z.array(z.string().min(1)).nullish(),
  max_uses: z.int().min(1).nullish(),
};

const webSearchMembers = {
  ...common,
  ...domains,
  name: z.literal("web_search"),
  user_location: exact<UserLocation>({
    type: z.literal("approximate"),
    city: z.string().nullish(),
    country: z.string().length(2).nullish(),
    region: z.string().nullish(),
    timezone: z.string().nullish(),
  }).nullish(),
};

const webSearch = (type: string) => exact<WebSearchTool20250305>({ ...webSearchMembers, type: z.literal(type) });

const all = z.strictObject({ type: z.literal("all") });
const none = z.strictObject({ type: z.literal("none") });
const namedTools = z.array(
  exact<WebFetchURLSourceToolReference>({ type: z.literal("tool_reference"), name: z.string() }),
);
const toolFilter = tagged<NonNullable<WebFetchURLSources["client_tool_results"]>["type"]>({
  all,
  none,
  only: z.strictObject({ type: z.literal("only"), tools: namedTools }),
  except: z.strictObject({ type: z.literal("except"), tools: namedTools }),
}).optional();

const webFetchMembers = {
  ...common,
  ...domains,
  name: z.literal("web_fetch"),
  citations: citationsConfig.nullish(),
  max_content_tokens: z.int().min(1).nullish(),
  url_sources: exact<WebFetchURLSources>({
    client_tool_results: toolFilter,
    server_tool_results: toolFilter,
    user_input: tagged({ all, none }).optional(),
  }).nullish(),
};

const useCache = { use_cache: z.boolean().optional() };
const responseInclusion = { response_inclusion: z.enum(["full", "excluded"]).optional() };
const webFetch = (type: string) => exact<WebFetchTool20250910>({ ...webFetchMembers, type: z.literal(type) });

const regexSearch = exact<ToolSearchToolRegex20251119>({
  ...common,
  type: z.enum(["tool_search_tool_regex_20251119", "tool_search_tool_regex"]),
  name: z.literal("tool_search_tool_regex"),
});
const bm25Search = exact<ToolSearchToolBm25_20251119>({
  ...common,
  type: z.enum(["tool_search_tool_bm25_20251119", "tool_search_tool_bm25"]),
  name: z.literal("tool_search_tool_bm25"),
});

/** An entry of `tools`; one without a `type` is a custom tool. */
export const tool = tagged<NonNullable<ToolUnion["type"]>>(
  {
    custom,
    bash_20250124: exact<ToolBash20250124>({
      ...clientSide,
      type: z.literal("bash_20250124"),
      name: z.literal("bash"),
    }),
    memory_20250818: exact<MemoryTool20250818>({
      ...clientSide,
      type: z.literal("memory_20250818"),
      name: z.literal("memory"),
    }),
    text_editor_20250124: exact<ToolTextEditor20250124>({
      ...clientSide,
      type: z.literal("text_editor_20250124"),
      name: z.literal("str_replace_editor"),
    }),
    text_editor_20250429: exact<ToolTextEditor20250429>({
      ...clientSide,
      type: z.literal("text_editor_20250429"),
      name: z.literal("str_replace_based_edit_tool"),
    }),
    text_editor_20250728: exact<ToolTextEditor20250728>({
      ...clientSide,
      type: z.literal("text_editor_20250728"),
      name: z.literal("str_replace_based_edit_tool"),
      max_characters: z.int().min(1).nullish(),
    }),
    browser_toolset_20260801: browserToolset,
    computer_toolset_20260801: computerToolset,
    code_execution_20250522: codeExecution("code_execution_20250522"),
    code_execution_20250825: codeExecution("code_execution_20250825"),
    code_execution_20260120: codeExecution("code_execution_20260120"),
    code_execution_20260521: codeExecution("code_execution_20260521"),
    web_search_20250305: webSearch("web_search_20250305"),
    web_search_20260209: webSearch("web_search_20260209"),
    web_search_20260318: exact<WebSearchTool20260318>({
      ...webSearchMembers,
      ...responseInclusion,
      type: z.literal("web_search_20260318"),
    }),
    web_fetch_20250910: webFetch("web_fetch_20250910"),
    web_fetch_20260209: webFetch("web_fetch_20260209"),
    web_fetch_20260309: exact<WebFetchTool20260309>({
      ...webFetchMembers,
      ...useCache,
      type: z.literal("web_fetch_20260309"),
    }),
    web_fetch_20260318: exact<WebFetchTool20260318>({
      ...webFetchMembers,
      ...useCache,
      ...responseInclusion,
      type: z.literal("web_fetch_20260318"),
    }),
    tool_search_tool_regex_20251119: regexSearch,
    tool_search_tool_regex: regexSearch,
    tool_search_tool_bm25_20251119: bm25Search,
    tool_search_tool_bm25: bm25Search,
  },
  "custom",
);

const parallel = { disable_parallel_tool_use: z.boolean().optional() };

export const toolChoice = tagged<ToolChoice["type"]>({
  auto: exact<ToolChoiceAuto>({ ...parallel, type: z.literal("auto") }),
  any: exact<ToolChoiceAny>({ ...parallel, type: z.literal("any") }),
  tool: exact<ToolChoiceTool>({ ...parallel, type: z.literal("tool"), name: z.string() }),
  none: exact<ToolChoiceNone>({ type: z.literal("none") }),
});
