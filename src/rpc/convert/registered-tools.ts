import { ParleyError } from "../../errors/parley-error.ts";
import type { ToolRegistry } from "../../tools/registry.ts";
import type { Tool } from "../../tools/tool.ts";
import { RawJson } from "../../upstream/raw-json.ts";
import type { FindTool } from "./request.ts";

/** How many tools an error names. */
const MAX_NAMED = 20;

/**
 * Finds the definitions of tools that Parley runs.
 *
 * @param onFound is told of each tool that was found.
 * @throws {ParleyError} TOOL_NOT_REGISTERED, when called with a name that there is no tool of.
 */
export function toolFinder(registry: ToolRegistry, onFound: (tool: Tool) => void = () => {}): FindTool {
  return (name, field) => {
    const tool = registry.find(name);
    if (tool === undefined) throw notRegistered(name, field, registry);
    onFound(tool);
    return {
      name: tool.name,
      ...(tool.description !== "" && { description: tool.description }),
      input_schema: new RawJson(tool.inputSchemaJson) as never,
    };
  };
}

function notRegistered(name: string, field: string, registry: ToolRegistry): ParleyError {
  const names = registry.list().map((tool) => tool.name);
  const more = names.length > MAX_NAMED ? `, and ${names.length - MAX_NAMED} more: see ToolService` : "";
  const there = names.length === 0 ? "none at all" : `these: ${names.slice(0, MAX_NAMED).join(", ")}${more}`;
  const description = `there is no tool ${name} at the moment, but ${there}`;
  return new ParleyError("TOOL_NOT_REGISTERED", `${field}: ${description}`, { violations: [{ field, description }] });
}
