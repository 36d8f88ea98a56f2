import type { DocumentBlockParam, TextCitation } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { type OutputBlock, textOutput } from "../answer/draft.ts";
import type { Source } from "../request/sources.ts";

/** An answer that quotes the first sentence, page or block of each source. */
export function citeSources(sources: readonly Source[]): OutputBlock[] {
  const outputs: OutputBlock[] = [];
  for (const source of sources) {
    const citation = cite(source);
    outputs.push(textOutput(outputs.length === 0 ? "According to what I was given, " : " Also, "));
    outputs.push(textOutput(citation.cited_text.trim() || "it is so", [citation]));
  }
  return [...outputs, textOutput(".")];
}

function cite({ block, index }: Source): TextCitation {
  if (block.type === "document") return citeDocument(block, index);
  return {
    type: "search_result_location",
    cited_text: block.content[0]?.text ?? "",
    search_result_index: index,
    source: block.source,
    title: block.title,
    start_block_index: 0,
    end_block_index: 1,
  };
}

function citeDocument({ source, title }: DocumentBlockParam, index: number): TextCitation {
  const common = { document_index: index, document_title: title ?? null };
  if (source.type === "text") {
    const sentence = /^[^.!?]*[.!?]?/.exec(source.data)?.[0] ?? "";
    return {
      ...common,
      type: "char_location",
      cited_text: sentence,
      start_char_index: 0,
      end_char_index: sentence.length,
      file_id: null,
    };
  }
  if (source.type === "content") {
    const first = typeof source.content === "string" ? source.content : source.content[0];
    const text = typeof first === "string" ? first : first?.type === "text" ? first.text : "";
    return {
      ...common,
      type: "content_block_location",
      cited_text: text,
      start_block_index: 0,
      end_block_index: 1,
      file_id: null,
    };
  }
  return {
    ...common,
    type: "page_location",
    cited_text: `what page 1 of ${title ?? "the document"} says`,
    start_page_number: 1,
    end_page_number: 2,
    file_id: source.type === "file" ? source.file_id : null,
  };
}
