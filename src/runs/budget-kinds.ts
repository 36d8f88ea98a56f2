import { BudgetKind } from "../../gen/parley/v1/agent_service_pb.js";
import type { BudgetKind as LoopBudgetKind } from "../agent/budget.ts";

/** What callers are told of the budgets of a loop. */
export const budgetKinds: Record<LoopBudgetKind, BudgetKind> = {
  turns: BudgetKind.TURNS,
  tool_calls: BudgetKind.TOOL_CALLS,
  output_tokens: BudgetKind.OUTPUT_TOKENS,
  cost: BudgetKind.COST,
  duration: BudgetKind.DURATION,
  deadline: BudgetKind.DEADLINE,
};
