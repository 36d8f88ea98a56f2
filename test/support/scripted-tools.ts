import type { Tool, ToolContext, ToolResult, ToolSource } from "../../src/tools/tool.ts";

/** A call of a scripted tool, as the tool saw it. */
export interface SeenCall {
  readonly tool: string;
  readonly input: unknown;
  readonly context: ToolContext;
}

type Behaviour = (
  input: Record<string, unknown>,
  context: ToolContext,
) => ToolResult | string | Promise<ToolResult | string>;
type Traits = Partial<Omit<Tool, "name" | "call">>;

/** Tools that do what a test says, and tell what was asked of them. */
export class ScriptedTools implements ToolSource {
  readonly tools: readonly Tool[];
  readonly calls: SeenCall[] = [];
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(behaviours: Readonly<Record<string, Behaviour | [Traits, Behaviour]>>) {
    this.tools = Object.entries(behaviours).map(([name, value]) => {
      const [traits, behaviour] = Array.isArray(value) ? value : [{}, value];
      return {
        name,
        description: `Does ${name}.`,
        inputSchemaJson: '{"type":"object","properties":{"n":{"type":"integer"}}}',
        sideEffect: "none",
        requiresApproval: false,
        timeoutMs: 30_000,
        maxConcurrency: 1_000,
        ...traits,
        call: async (inputJson: string, context: ToolContext) => {
          const input = JSON.parse(inputJson) as Record<string, unknown>;
          this.calls.push({ tool: name, input, context });
          this.#tell();
          const result = await behaviour(input, context);
          return typeof result === "string" ? { content: result } : result;
        },
      };
    });
  }

  /** Resolves when so many calls have begun. */
  begun(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ count, resolve });
    this.#tell();
    return promise;
  }

  #tell(): void {
    for (const { count, resolve } of this.#waiting) if (this.calls.length >= count) resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Never answers, and lets a test see that it was told to stop. */
export function hang(_: unknown, { signal }: ToolContext): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
}
