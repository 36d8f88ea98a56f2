import type { ServerToolUseBlockParam, ToolUseBlockParam } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { invalidRequest } from "../../server/api-error.ts";
import { type PlacedBlock, type Turn, toolName } from "../request.ts";
import type { Rule } from "./rule.ts";

/** The name of a call's result block by the name of the server tool. */
const SERVER_RESULTS: Readonly<Record<ServerToolUseBlockParam["name"], string>> = {
  web_search: "web_search_tool_result",
  web_fetch: "web_fetch_tool_result",
  code_execution: "code_execution_tool_result",
  bash_code_execution: "bash_code_execution_tool_result",
  text_editor_code_execution: "text_editor_code_execution_tool_result",
  tool_search_tool_regex: "tool_search_tool_result",
  tool_search_tool_bm25: "tool_search_tool_result",
};

/** Every `tool_use` is answered, once, at the start of the next user turn, and nothing else is answered. */
export const toolPairsRule: Rule = ({ turns }) => {
  const seen = new Set<string>();
  for (const [index, turn] of turns.entries()) {
    if (turn.role === "assistant") {
      const calls = callsOf(turn);
      for (const { id } of calls) {
        if (seen.has(id)) throw invalidRequest("`tool_use` ids must be unique", "messages");
        seen.add(id);
      }
      requireResults(turn, calls, turns[index + 1]);
    }
    if (turn.role === "user") refuseOrphans(turn, turns[index - 1]);
  }
};

/** The calls that the caller of the API answers: those the model made itself, not those of server tools. */
function callsOf(turn: Turn): ToolUseBlockParam[] {
  return turn.blocks.flatMap(({ block }) => (block.type === "tool_use" ? [block] : []));
}

function resultsOf(turn: Turn | undefined) {
  return (turn?.blocks ?? []).flatMap(({ block, path, message }) =>
    block.type === "tool_result" ? [{ block, path, message }] : [],
  );
}

function requireResults(turn: Turn, calls: readonly ToolUseBlockParam[], next: Turn | undefined): void {
  if (calls.length === 0) return;
  const results = next?.role === "user" ? next.blocks : [];
  const opening = results.findIndex(({ block }) => block.type !== "tool_result");
  const answered = new Set(
    (opening < 0 ? results : results.slice(0, opening)).map(({ block }) =>
      block.type === "tool_result" ? block.tool_use_id : "",
    ),
  );
  const missing = calls.filter(({ id }) => !answered.has(id)).map(({ id }) => id);
  if (missing.length === 0) return;
  throw invalidRequest(
    `\`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${missing.join(", ")}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`,
    `messages.${turn.blocks.at(-1)?.message ?? turn.first}`,
  );
}

function refuseOrphans(turn: Turn, previous: Turn | undefined): void {
  const calls = new Map((previous?.role === "assistant" ? callsOf(previous) : []).map((call) => [call.id, call]));
  const answered = new Set<string>();
  for (const { block, path } of resultsOf(turn)) {
    const id = block.tool_use_id;
    const call = calls.get(id);
    if (!call) {
      throw invalidRequest(
        `unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${id}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`,
        path,
      );
    }
    if (answered.has(id)) {
      throw invalidRequest(
        `each tool_use must have a single result. Found multiple \`tool_result\` blocks with id: ${id}`,
        path,
      );
    }
    answered.add(id);
    const family = call.toolset_name ?? undefined;
    if ((block.toolset_name ?? undefined) !== family) {
      throw invalidRequest(
        family
          ? `toolset_name must be '${family}', as in its \`tool_use\` block`
          : "its `tool_use` block has no toolset_name",
        `${path}.tool_result.toolset_name`,
      );
    }
  }
}

/** A tool that a result refers to must be among the tools. */
export const toolReferencesRule: Rule = ({ request, turns }) => {
  const names = (request.tools ?? []).map(toolName);
  for (const { block, path } of turns.flatMap((turn) => resultsOf(turn))) {
    if (!Array.isArray(block.content)) continue;
    for (const part of block.content) {
      if (part.type === "tool_reference" && !names.includes(part.tool_name)) {
        throw invalidRequest(`Tool reference '${part.tool_name}' not found in available tools`, path);
      }
    }
  }
};

/**
 * Calls of server tools have their results after them in the same turn or, when client tools were called at the same
 * time, in the turn after. Only a turn that is being continued may still wait for a result, and then for a tool that
 * the request offers.
 */
export const serverToolPairsRule: Rule = ({ request, turns }) => {
  const waiting = new Map<string, { use: ServerToolUseBlockParam; turn: number }>();
  for (const [index, turn] of turns.entries()) {
    for (const placed of turn.blocks) {
      const { block } = placed;
      if (block.type === "server_tool_use") waiting.set(block.id, { use: block, turn: index });
      else if (block.type !== "tool_result" && "tool_use_id" in block) settle(placed, waiting);
    }
  }
  for (const { use, turn } of waiting.values()) {
    const expected = SERVER_RESULTS[use.name];
    if (!isContinued(turns, turn)) {
      throw invalidRequest(
        `\`${use.name}\` tool use with id \`${use.id}\` was found without a corresponding \`${expected}\` block`,
      );
    }
    const owner = use.name.includes("code_execution") ? "code_execution" : use.name;
    if (!request.tools?.some((tool) => toolName(tool) === owner)) {
      throw invalidRequest(
        `\`${use.name}\` tool use with id \`${use.id}\` was found without a corresponding \`${expected}\` block, but no \`${owner}\` tool was provided`,
      );
    }
  }
};

function settle({ block, path }: PlacedBlock, waiting: Map<string, { use: ServerToolUseBlockParam }>): void {
  if (!("tool_use_id" in block)) return;
  const use = waiting.get(block.tool_use_id)?.use;
  if (use && SERVER_RESULTS[use.name] === block.type) {
    waiting.delete(block.tool_use_id);
    return;
  }
  throw invalidRequest(
    `unexpected \`tool_use_id\` found in \`${block.type}\` blocks: ${block.tool_use_id}. Each \`${block.type}\` block must have a corresponding \`server_tool_use\` block before it.`,
    path,
  );
}

/** Whether the turn is the last one, or is followed by nothing but the results of the client tools it called. */
function isContinued(turns: readonly Turn[], index: number): boolean {
  const next = turns[index + 1];
  if (!next) return true;
  return index + 2 === turns.length && next.blocks.every(({ block }) => block.type === "tool_result");
}
