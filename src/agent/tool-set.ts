import type { Tool } from "../tools/tool.ts";
import { Semaphore } from "./semaphore.ts";
import type { ToolCall } from "./tool-call.ts";

/** The tools of a run. */
export interface ToolSet {
  /** The tool of that name, if Parley runs it. */
  find(name: string): Tool | undefined;
  /** Whether it is the caller who runs the tool. */
  isCallers(call: ToolCall): boolean;
}

/** How many calls of each tool there may be at a time, of all runs. */
export class ToolSlots {
  readonly #semaphores = new Map<string, Semaphore>();

  acquire(tool: Tool, signal: AbortSignal): Promise<Disposable> {
    let semaphore = this.#semaphores.get(tool.name);
    if (semaphore === undefined) {
      semaphore = new Semaphore(tool.maxConcurrency);
      this.#semaphores.set(tool.name, semaphore);
    }
    return semaphore.acquire(signal);
  }
}
