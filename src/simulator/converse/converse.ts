import {
  type Draft,
  type OutputBlock,
  stopFor,
  textOutput,
  thinkingOutput,
  toolOutput,
  wholeOutput,
} from "../answer/draft.ts";
import { applyStopSequences, applyTokenLimit } from "../answer/limits.ts";
import type { SimulatedModel } from "../catalogue/model.ts";
import type { MessagesRequest } from "../request/request.ts";
import { citableSources } from "../request/sources.ts";
import { citeSources } from "./citations.ts";
import { type Conversation, excerpt, readConversation } from "./conversation.ts";
import { generateValue } from "./schema-values.ts";
import { chooseToolCalls } from "./tool-calls.ts";
import { canSearchTheWeb, searchAnswer, searchCall, searchOutputs, searchResult } from "./web-search.ts";
import { wordsOnDemand } from "./words.ts";

/**
 * The default scenario: an answer that follows from the request alone. The last user text steers it: a tool's name,
 * "use a tool", "N words", "please refuse" and "please pause".
 */
export function converse(request: MessagesRequest, model: SimulatedModel, promptTokens: number): Draft {
  if (request.max_tokens === 0) return { outputs: [], stop: stopFor("max_tokens"), serverTools: null };
  const conversation = readConversation(request);
  const draft = thinkFirst(request, model, conversation, answer(request, conversation));
  const stopped = applyStopSequences(draft, request.stop_sequences);
  return applyTokenLimit(stopped, request.max_tokens, Math.max(0, model.contextWindow - promptTokens));
}

function answer(request: MessagesRequest, conversation: Conversation): Draft {
  const { text, results, continued, pending } = conversation;
  if (continued) {
    const found = pending ? [wholeOutput(searchResult(pending.id)), ...searchAnswer()] : [textOutput("Now I am done.")];
    return draftOf(found, searches(pending ? 1 : 0));
  }
  if (/please refuse/i.test(text)) return refusal();
  if (/please pause/i.test(text)) return pause(request, text);
  const mayCall = results.length === 0 || text !== "" || forcesTool(request);
  const calls = mayCall ? chooseToolCalls(request, text) : [];
  if (calls.length > 0) {
    const update = textOutput(`I will call ${calls.map((call) => call.name).join(" and ")}.`);
    return {
      outputs: [update, ...calls.map((call) => toolOutput(call))],
      stop: stopFor("tool_use"),
      serverTools: null,
    };
  }
  const schema = request.output_config?.format?.schema;
  if (schema) return draftOf([textOutput(JSON.stringify(generateValue(schema)))]);
  if (results.length > 0) return draftOf([textOutput(reportOf(conversation))]);
  if (canSearchTheWeb(request) && /\bweb[_ ]search\b/i.test(text)) return draftOf(searchOutputs(text), searches(1));
  const cited = citableSources(conversation.turns).filter((source) => source.cited);
  return draftOf(cited.length > 0 ? citeSources(cited) : [textOutput(wordsOnDemand(text) ?? echo(text))]);
}

function forcesTool(request: MessagesRequest): boolean {
  return request.tool_choice?.type === "any" || request.tool_choice?.type === "tool";
}

function draftOf(outputs: OutputBlock[], serverTools: Draft["serverTools"] = null): Draft {
  return { outputs, stop: stopFor("end_turn"), serverTools };
}

function searches(count: number): Draft["serverTools"] {
  return count === 0 ? null : { web_search_requests: count, web_fetch_requests: 0 };
}

function refusal(): Draft {
  const explanation = "The prompt asked for a refusal.";
  const details = { type: "refusal", category: "general_harms", explanation } as const;
  return { outputs: [], stop: { ...stopFor("refusal"), details }, serverTools: null };
}

/**
 * A turn that is to be sent back to go on: in the middle of a web search where the request offers one, and after one
 * otherwise, since a call that waits for its result needs the tool.
 */
function pause(request: MessagesRequest, text: string): Draft {
  const opening = textOutput("Let me look that up.");
  const call = searchCall(text);
  const rest = canSearchTheWeb(request) ? [] : [wholeOutput(searchResult(call.id))];
  return {
    outputs: [opening, toolOutput(call), ...rest],
    stop: stopFor("pause_turn"),
    serverTools: searches(rest.length),
  };
}

function reportOf({ results }: Conversation): string {
  return results
    .map(({ name, text, failed }) => (failed ? `${name} failed: ${text}` : `${name} answered: ${text || "(nothing)"}`))
    .join("\n");
}

function echo(text: string): string {
  if (text.trim() === "") return "Thank you. There is no text in your message that I could answer.";
  return `You said: "${excerpt(text)}". I am a simulated Claude, so this is all I can say about it.`;
}

/**
 * Puts thinking in front of an answer when the request asks for it. With `between_tools` there is none, but what is
 * said before a tool call becomes a thinking block.
 */
function thinkFirst(request: MessagesRequest, model: SimulatedModel, { text }: Conversation, draft: Draft): Draft {
  const { thinking } = request;
  if (draft.outputs.length === 0) return draft;
  if (thinking?.type === "between_tools" && draft.stop.reason === "tool_use") {
    const outputs = draft.outputs.map((output) =>
      output.block.type === "text" ? thinkingOutput(output.block.text, "summarized") : output,
    );
    return { ...draft, outputs };
  }
  if (thinking?.type !== "adaptive" && thinking?.type !== "enabled") return draft;
  const plan = draft.stop.reason === "tool_use" ? "A tool will help." : "I can answer this directly.";
  const thought = thinkingOutput(`The user says: "${excerpt(text)}". ${plan}`, thinking.display ?? model.display);
  return { ...draft, outputs: [thought, ...draft.outputs] };
}
