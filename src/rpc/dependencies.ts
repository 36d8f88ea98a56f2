import type { PriceTable } from "../agent/prices.ts";
import type { TurnDependencies } from "../agent/turn.ts";
import type { Runs } from "../runs/runs.ts";
import type { ToolRegistry } from "../tools/registry.ts";
import type { BudgetDefaults } from "./convert/budget.ts";
import type { ChatDefaults } from "./convert/request.ts";

/** What the RPCs need. */
export interface RpcDependencies extends TurnDependencies {
  readonly defaults: ChatDefaults;
  /** After how much silence a stream sends a heartbeat, in milliseconds. */
  readonly heartbeatMs: number;
  readonly tools: ToolRegistry;
  readonly prices: PriceTable;
}

/** What the RPCs of runs need. */
export interface AgentDependencies extends RpcDependencies {
  readonly runs: Runs;
  readonly budgets: BudgetDefaults;
}
