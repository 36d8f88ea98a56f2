/** What a run may use. */
export interface Budget {
  /** Turns in which Claude may call tools. */
  readonly turns: number;
  readonly toolCalls: number;
  readonly outputTokens: number;
  /** In millionths of a US dollar. Infinity: as much as it takes. */
  readonly costMicrosUsd: number;
  /** In milliseconds at work. */
  readonly durationMs: number;
}

/** What a run has used. */
export interface Spending {
  readonly turns: number;
  readonly toolCalls: number;
  readonly outputTokens: number;
  readonly costMicrosUsd: number;
}

/** What a budget limits. `deadline` is that of the call, less the reserve. */
export type BudgetKind = "turns" | "tool_calls" | "output_tokens" | "cost" | "duration" | "deadline";

/** Which of the budgets that are spent turn by turn leaves nothing for another turn. */
export function exhaustedBudget(budget: Budget, spent: Spending): BudgetKind | undefined {
  if (spent.turns >= budget.turns) return "turns";
  if (spent.outputTokens >= budget.outputTokens) return "output_tokens";
  if (spent.costMicrosUsd >= budget.costMicrosUsd) return "cost";
  return undefined;
}
