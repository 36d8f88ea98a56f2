import type { ToolUnion, ToolUseBlock } from "@anthropic-ai/sdk/resources/messages/messages.js";
import type { PromptRequest } from "../request/request.ts";
import { isObject } from "../request/schema/primitives.ts";
import { newId } from "../server/ids.ts";
import { generateValue } from "./schema-values.ts";
import { BROWSER_SAMPLES, COMPUTER_SAMPLES } from "./toolset-samples.ts";

/** A tool, or a member of a toolset, that the caller of the API would run. */
interface Callable {
  readonly name: string;
  readonly toolset?: "browser" | "computer";
  input(): unknown;
}

/** Inputs for the client tools whose schema is Anthropic's. */
const SAMPLES: Readonly<Record<string, unknown>> = {
  bash: { command: "echo hello" },
  memory: { command: "view", path: "/memories" },
  str_replace_editor: { command: "view", path: "/" },
  str_replace_based_edit_tool: { command: "view", path: "/" },
};

/** Whether a sentence asks for a tool without naming one: "please use a tool". */
function asksForATool(text: string): boolean {
  return text.split(/[.?!]/).some((sentence) => {
    const verb = sentence.search(/\b(?:use|call|run|invoke)\b/i);
    return verb >= 0 && /\btools?\b/i.test(sentence.slice(verb));
  });
}

/** The calls a prompt leads to: those of the tools it names, or of one when it, or `tool_choice`, asks for any. */
export function chooseToolCalls(request: PromptRequest, text: string): ToolUseBlock[] {
  const choice = request.tool_choice;
  const tools = callables(request.tools ?? []);
  if (choice?.type === "none" || tools.length === 0) return [];
  const named = tools.filter((tool) => mentions(text, tool));
  const chosen =
    choice?.type === "tool"
      ? tools.filter((tool) => tool.name === choice.name)
      : named.length > 0
        ? named
        : choice?.type === "any" || asksForATool(text)
          ? tools.slice(0, 1)
          : [];
  const single =
    choice?.type === "tool" || (choice && "disable_parallel_tool_use" in choice && choice.disable_parallel_tool_use);
  return (single ? chosen.slice(0, 1) : chosen).map(toCall);
}

function toCall({ name, toolset, input: makeInput }: Callable): ToolUseBlock {
  const input = makeInput();
  return {
    type: "tool_use",
    id: newId("toolu"),
    name,
    input: isObject(input) ? input : {},
    caller: { type: "direct" },
    ...(toolset && { toolset_name: toolset }),
  };
}

function callables(tools: readonly ToolUnion[]): Callable[] {
  return tools.flatMap((tool): Callable[] => {
    if (tool.type === "browser_toolset_20260801") return members("browser", BROWSER_SAMPLES, tool.configs);
    if (tool.type === "computer_toolset_20260801") return members("computer", COMPUTER_SAMPLES, tool.configs);
    if (tool.defer_loading || (tool.allowed_callers && !tool.allowed_callers.includes("direct"))) return [];
    const { name } = tool;
    if ("input_schema" in tool) return [{ name, input: () => generateValue({ ...tool.input_schema }) }];
    return Object.hasOwn(SAMPLES, name) ? [{ name, input: () => SAMPLES[name] }] : [];
  });
}

function members(
  toolset: "browser" | "computer",
  samples: Readonly<Record<string, unknown>>,
  configs: object | null | undefined,
): Callable[] {
  const settings = (configs ?? {}) as Readonly<
    Record<string, { enabled?: boolean | null; defer_loading?: boolean | null } | null>
  >;
  return Object.entries(samples)
    .filter(([name]) => settings[name]?.enabled !== false && !settings[name]?.defer_loading)
    .map(([name, input]) => ({ name, toolset, input: () => input }));
}

/** Members of toolsets are called like everyday words, so that they count only after "use" and its kin. */
function mentions(text: string, { name, toolset }: Callable): boolean {
  const opening = toolset ? "\\b(?:use|call|run|invoke)\\s+(?:the\\s+)?[`'\"]?" : "(?<![\\w-])";
  return new RegExp(`${opening}${name.replaceAll("-", "\\-")}(?![\\w-])`, "i").test(text);
}
