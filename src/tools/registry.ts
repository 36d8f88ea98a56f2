import type { Tool, ToolSource } from "./tool.ts";

/** All tools that Parley runs. What they come from may come and go, so that each look finds what is there then. */
export class ToolRegistry implements AsyncDisposable {
  readonly #sources: readonly ToolSource[];

  /** @param sources of two tools with the same name, that of the earlier source counts. */
  constructor(sources: readonly ToolSource[]) {
    this.#sources = sources;
  }

  /** The tool of that name. Undefined: there is none at the moment. */
  find(name: string): Tool | undefined {
    for (const { tools } of this.#sources) {
      const found = tools.find((tool) => tool.name === name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** All tools, by name. */
  list(): readonly Tool[] {
    const byName = new Map<string, Tool>();
    for (const { tools } of this.#sources) {
      for (const tool of tools) if (!byName.has(tool.name)) byName.set(tool.name, tool);
    }
    return [...byName.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#sources.map((source) => source[Symbol.asyncDispose]()));
  }
}
