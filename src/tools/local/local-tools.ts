import type { ToolsConfig } from "../../config/tools-schema.ts";
import type { Tool, ToolSource } from "../tool.ts";
import { currentTime } from "./current-time.ts";

/** Name of a tool that this process has. */
export type LocalToolName = ToolsConfig["local"][number];

export interface LocalToolsOptions {
  /** The clock: milliseconds since 1970. */
  readonly now?: () => number;
}

/** The tools in this process that have these names. A tool is added here, and to the names in the configuration's schema. */
export function createLocalTools(names: readonly LocalToolName[], { now }: LocalToolsOptions = {}): ToolSource {
  const available: Record<LocalToolName, () => Tool> = {
    current_time: () => currentTime(now),
  };
  return { tools: [...new Set(names)].map((name) => available[name]()), async [Symbol.asyncDispose]() {} };
}
