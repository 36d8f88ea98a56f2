import { type Draft, type OutputBlock, stopFor, textOutput } from "./draft.ts";

/** Ends the answer where one of the stop sequences begins, which itself is left out. */
export function applyStopSequences(draft: Draft, sequences: readonly string[] | undefined): Draft {
  if (!sequences?.length) return draft;
  const kept: OutputBlock[] = [];
  for (const output of draft.outputs) {
    const found = output.block.type === "text" ? findFirst(output.block.text, sequences) : undefined;
    if (!found || output.block.type !== "text") {
      kept.push(output);
      continue;
    }
    if (found.at > 0) kept.push(textOutput(output.block.text.slice(0, found.at), output.block.citations));
    return { ...draft, outputs: kept, stop: stopFor("stop_sequence", found.sequence) };
  }
  return draft;
}

function findFirst(text: string, sequences: readonly string[]): { at: number; sequence: string } | undefined {
  let first: { at: number; sequence: string } | undefined;
  for (const sequence of sequences) {
    const at = text.indexOf(sequence);
    if (at >= 0 && (!first || at < first.at)) first = { at, sequence };
  }
  return first;
}

/** Ends the answer after `maxTokens`, or earlier where the context window is full. */
export function applyTokenLimit(draft: Draft, maxTokens: number, leftInWindow: number): Draft {
  const limit = Math.min(maxTokens, leftInWindow);
  const kept: OutputBlock[] = [];
  let left = limit;
  for (const output of draft.outputs) {
    if (output.tokens <= left) {
      kept.push(output);
      left -= output.tokens;
      continue;
    }
    if (left > 0) kept.push(output.cut(left));
    const reason = leftInWindow < maxTokens ? "model_context_window_exceeded" : "max_tokens";
    return { ...draft, outputs: kept, stop: stopFor(reason) };
  }
  return draft;
}
