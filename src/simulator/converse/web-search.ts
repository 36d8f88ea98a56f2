import type { ServerToolUseBlock, WebSearchToolResultBlock } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { type OutputBlock, textOutput, toolOutput, wholeOutput } from "../answer/draft.ts";
import type { PromptRequest } from "../request/request.ts";
import { newId } from "../server/ids.ts";
import { excerpt } from "./conversation.ts";

const RESULT = {
  type: "web_search_result",
  url: "https://example.com/",
  title: "Example Domain",
  encrypted_content: "c2ltdWxhdGVkIHNlYXJjaCByZXN1bHQ=",
  page_age: null,
} as const;

/** Whether Claude may search the web for this request. */
export function canSearchTheWeb(request: PromptRequest): boolean {
  return request.tools?.some((tool) => "name" in tool && tool.name === "web_search") ?? false;
}

/** The call of a web search. */
export function searchCall(text: string): ServerToolUseBlock {
  return {
    type: "server_tool_use",
    id: newId("srvtoolu"),
    name: "web_search",
    input: { query: excerpt(text) },
    caller: { type: "direct" },
  };
}

/** What the search found. */
export function searchResult(toolUseId: string): WebSearchToolResultBlock {
  return {
    type: "web_search_tool_result",
    tool_use_id: toolUseId,
    content: [{ ...RESULT }],
    caller: { type: "direct" },
  };
}

/** A sentence that cites what was found. */
export function searchAnswer(): OutputBlock[] {
  const citation = {
    type: "web_search_result_location",
    cited_text: "This domain is for use in examples.",
    encrypted_index: "MA==",
    title: RESULT.title,
    url: RESULT.url,
  } as const;
  return [textOutput("I found this: "), textOutput("example.com is a domain for use in examples.", [citation])];
}

/** A whole search: the call, its result, and the answer. */
export function searchOutputs(text: string): OutputBlock[] {
  const call = searchCall(text);
  return [toolOutput(call), wholeOutput(searchResult(call.id)), ...searchAnswer()];
}
