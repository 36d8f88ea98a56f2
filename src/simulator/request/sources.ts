import type { DocumentBlockParam, SearchResultBlockParam } from "@anthropic-ai/sdk/resources/messages/messages.js";
import type { Turn } from "./request.ts";

/** A document or search result of the conversation, with its number among those of its kind. */
export interface Source {
  readonly block: DocumentBlockParam | SearchResultBlockParam;
  /** 0-based, in the order in which documents, or search results, appear, also inside tool results. */
  readonly index: number;
  /** Whether citations are enabled on it. */
  readonly cited: boolean;
}

/** All documents and search results that user messages carry. */
export function citableSources(turns: readonly Turn[]): Source[] {
  const counts = { document: 0, search_result: 0 };
  const sources: Source[] = [];
  for (const { block } of turns.flatMap((turn) => turn.blocks)) {
    const inside = block.type === "tool_result" && Array.isArray(block.content) ? block.content : [block];
    for (const part of inside) {
      if (part.type !== "document" && part.type !== "search_result") continue;
      sources.push({ block: part, index: counts[part.type]++, cited: part.citations?.enabled === true });
    }
  }
  return sources;
}
