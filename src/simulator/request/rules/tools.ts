import type { ToolUnion } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { invalidRequest } from "../../server/api-error.ts";
import { toolName } from "../request.ts";
import { MEMBER_COUNTS } from "../schema/toolsets.ts";
import type { Rule } from "./rule.ts";

/** The most tools with `strict: true` in one request. */
const MAX_STRICT_TOOLS = 20;

/** Where a tool stands, with its type as Claude's paths have it: `tools.0.custom`. */
export function toolPath(tool: ToolUnion, index: number): string {
  return `tools.${index}.${tool.type ?? "custom"}`;
}

/** Names are unique, and a toolset keeps its own name for itself. */
export const toolNamesRule: Rule = ({ request }) => {
  const names = new Set<string>();
  for (const tool of request.tools ?? []) {
    const name = toolName(tool) ?? (tool.type === "browser_toolset_20260801" ? "browser" : "computer");
    if (names.has(name)) throw invalidRequest("Tool names must be unique.", "tools");
    names.add(name);
  }
};

/** Rules of single tools that a schema cannot tell. */
export const toolDefinitionsRule: Rule = ({ request }) => {
  const tools = request.tools ?? [];
  const names = tools.map(toolName);
  for (const [index, tool] of tools.entries()) {
    const path = toolPath(tool, index);
    if ("input_schema" in tool) {
      const combined = ["oneOf", "allOf", "anyOf"].some((keyword) => keyword in tool.input_schema);
      if (combined) {
        throw invalidRequest(
          "input_schema does not support oneOf, allOf, or anyOf at the top level",
          `${path}.input_schema`,
        );
      }
    }
    if ("defer_loading" in tool && tool.defer_loading && tool.cache_control) {
      throw invalidRequest("Tools with defer_loading=true cannot use cache_control", path);
    }
    if ("allowed_domains" in tool && tool.name === "web_search" && tool.allowed_domains && tool.blocked_domains) {
      throw invalidRequest("Only one of allowed_domains and blocked_domains can be specified", path);
    }
    if ("url_sources" in tool && tool.url_sources) {
      const { client_tool_results: client, server_tool_results: server } = tool.url_sources;
      for (const filter of [client, server]) {
        for (const { name } of filter && "tools" in filter ? filter.tools : []) {
          if (!names.includes(name))
            throw invalidRequest(`Tool '${name}' not found in provided tools`, `${path}.url_sources`);
        }
      }
    }
  }
  if (tools.length > 0 && tools.every((tool) => "defer_loading" in tool && tool.defer_loading)) {
    throw invalidRequest("At least one tool must have defer_loading=false.", "tools");
  }
  const strict = tools.filter((tool) => "strict" in tool && tool.strict).length;
  if (strict > MAX_STRICT_TOOLS) {
    throw invalidRequest(`At most ${MAX_STRICT_TOOLS} tools can have strict=true. Found ${strict}.`, "tools");
  }
};

/** A toolset offers at least one member, and its members are deferred together or not at all. */
export const toolsetsRule: Rule = ({ request }) => {
  for (const [index, tool] of (request.tools ?? []).entries()) {
    if (!("configs" in tool) || !tool.configs) continue;
    const path = toolPath(tool, index);
    const given = Object.values(tool.configs).filter((config) => config !== null && config !== undefined);
    const members = MEMBER_COUNTS[tool.type];
    const disabled = given.filter((config) => config.enabled === false).length;
    if (disabled === members) throw invalidRequest("At least one member must be enabled", `${path}.configs`);
    const deferred = given.filter((config) => config.enabled !== false && config.defer_loading).length;
    if (deferred > 0 && deferred < members - disabled) {
      throw invalidRequest("defer_loading must be the same for every enabled member", `${path}.configs`);
    }
  }
};

/** What `tool_choice` may ask of these tools and this model; the same holds for counting tokens. */
export const toolChoiceRule: Rule = ({ request, model }) => {
  const choice = request.tool_choice;
  if (!choice) return;
  if (!request.tools?.length && choice.type !== "none") {
    throw invalidRequest("tool_choice may only be specified while providing tools.");
  }
  if (choice.type !== "any" && choice.type !== "tool") return;
  if (!model.forcedToolUse) {
    throw invalidRequest('type "tool" and "any" are not supported for this model.', "tool_choice");
  }
  if (choice.type === "tool" && !request.tools?.some((tool) => toolName(tool) === choice.name)) {
    throw invalidRequest(`Tool '${choice.name}' not found in provided tools`, "tool_choice");
  }
};
