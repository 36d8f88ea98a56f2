import { EventEmitter, on } from "node:events";
import { type McpServerConfig, toolsSchema } from "../../../src/config/tools-schema.ts";
import { createMcpTools, type McpProblem } from "../../../src/tools/mcp/mcp-tools.ts";
import type { Tool, ToolContext, ToolResult, ToolSource } from "../../../src/tools/tool.ts";
import { passedTrace } from "../../support/tool-trace.ts";

/** An entry of the configuration. */
export type McpSettings = Record<string, unknown> & { readonly name?: string };

/** The tools of one server, as a test sees them. */
export interface TestSource extends AsyncDisposable {
  readonly source: ToolSource;
  readonly problems: readonly McpProblem[];
  /** Resolves with the first problem, past or to come, whose message fits. */
  problem(fits: RegExp): Promise<McpProblem>;
  /** Resolves when the tools have been listed for so many times, with their names at that time. */
  listed(times?: number): Promise<readonly string[]>;
  tool(name: string): Tool;
  call(name: string, args?: unknown, context?: Partial<ToolContext>): Promise<ToolResult>;
}

export function mcpConfig(settings: McpSettings): McpServerConfig {
  const [config] = toolsSchema.parse({ mcp: [{ name: "test", ...settings }] }).mcp;
  if (config === undefined) throw new Error("unreachable");
  return config;
}

export function startSource(settings: McpSettings): TestSource {
  const config = mcpConfig(settings);
  const problems: McpProblem[] = [];
  const listings: string[][] = [];
  const events = new EventEmitter<{ change: [] }>().setMaxListeners(0);
  const source = createMcpTools(config, {
    onProblem(problem) {
      problems.push(problem);
      events.emit("change");
    },
    onTools(_, tools) {
      listings.push(tools.map(({ name }) => name));
      events.emit("change");
    },
  });
  async function until<T>(look: () => T | undefined): Promise<T> {
    const now = look();
    if (now !== undefined) return now;
    for await (const _ of on(events, "change")) {
      const found = look();
      if (found !== undefined) return found;
    }
    throw new Error("unreachable");
  }
  const tool = (name: string) => {
    const found = source.tools.find((each) => each.name === `${config.name}__${name}`);
    if (found === undefined) throw new Error(`no tool ${name} among ${source.tools.map((each) => each.name)}`);
    return found;
  };
  return {
    source,
    problems,
    problem: (fits) => until(() => problems.find(({ message }) => fits.test(message))),
    listed: (times = 1) => until(() => listings[times - 1]),
    tool,
    call: async (name, args = {}, context = {}) =>
      tool(name).call(typeof args === "string" ? args : JSON.stringify(args), toolContext(context)),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

/** A context with a minute's time, for nobody in particular. */
export function toolContext(changes: Partial<ToolContext> = {}): ToolContext {
  return {
    signal: new AbortController().signal,
    deadline: performance.now() + 60_000,
    runId: "run_1",
    toolUseId: "toolu_1",
    caller: { name: "anonymous", header: () => undefined },
    trace: passedTrace(),
    progress() {},
    ...changes,
  };
}
