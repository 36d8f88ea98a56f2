import type { BrowserStateBlockParam, ToolResultBlockParam } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { invalidRequest } from "../../server/api-error.ts";
import type { Rule } from "./rule.ts";

/** What the result of a toolset member may hold, and when a browser's state makes sense. */
export const toolsetResultsRule: Rule = ({ turns }) => {
  for (const { block, path } of turns.flatMap((turn) => turn.blocks)) {
    if (block.type !== "tool_result" || !Array.isArray(block.content)) continue;
    checkContent(block, block.content, `${path}.tool_result.content`);
  }
};

type Content = Exclude<NonNullable<ToolResultBlockParam["content"]>, string>;

function checkContent(result: ToolResultBlockParam, content: Content, path: string): void {
  const states = content.flatMap((part) => (part.type === "browser_state" ? [part] : []));
  if (result.toolset_name) {
    const allowed = result.toolset_name === "browser" ? ["text", "image", "browser_state"] : ["text", "image"];
    const stray = content.find((part) => !allowed.includes(part.type));
    if (stray)
      throw invalidRequest(`\`${stray.type}\` blocks are not allowed in a ${result.toolset_name} result`, path);
  }
  if (states.length === 0) return;
  if (result.toolset_name !== "browser" || result.is_error || states.length > 1) {
    throw invalidRequest("at most one `browser_state` block, and only in a browser result that is no error", path);
  }
  for (const state of states) checkState(state, path);
}

function checkState({ tabs, state_changes: changes }: BrowserStateBlockParam, path: string): void {
  const ids = new Set(tabs.map((tab) => tab.tab_id));
  if (ids.size !== tabs.length) throw invalidRequest("tab_id must be unique", `${path}.tabs`);
  if (tabs.length > 0 && tabs.filter((tab) => tab.active).length !== 1) {
    throw invalidRequest("exactly one tab must be active", `${path}.tabs`);
  }
  const downloads = new Set<string>();
  for (const change of changes ?? []) {
    if (change.type === "tab_opened") {
      if (!ids.has(change.tab_id))
        throw invalidRequest(`tab '${change.tab_id}' is not in tabs`, `${path}.state_changes`);
    } else if (downloads.has(change.download_id)) {
      throw invalidRequest("at most one state change for a download_id", `${path}.state_changes`);
    } else {
      downloads.add(change.download_id);
    }
  }
}
