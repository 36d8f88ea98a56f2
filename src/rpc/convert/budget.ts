import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import type { Budget as BudgetMessage } from "../../../gen/parley/v1/agent_service_pb.js";
import type { Budget } from "../../agent/budget.ts";
import type { PriceTable } from "../../agent/prices.ts";
import { invalidField } from "../../errors/parley-error.ts";

/** The budgets of runs that set none, and those that no run can exceed. */
export interface BudgetDefaults {
  readonly defaults: {
    readonly turns: number;
    readonly toolCalls: number;
    readonly outputTokens: number;
    /** In milliseconds. */
    readonly duration: number;
    /** In milliseconds. */
    readonly deadlineReserve: number;
    readonly parallelToolCalls: number;
  };
  readonly caps: {
    readonly turns: number;
    readonly toolCalls: number;
    readonly outputTokens: number;
    readonly costUsd?: number | undefined;
    /** In milliseconds. */
    readonly duration: number;
  };
}

const MICROS_PER_USD = 1_000_000;

/** The budget of a run that begins. */
export function budgetOf(asked: BudgetMessage | undefined, { defaults, caps }: BudgetDefaults): Budget {
  return capped(
    {
      turns: asked?.maxTurns ?? defaults.turns,
      toolCalls: asked?.maxToolCalls ?? defaults.toolCalls,
      outputTokens: Number(asked?.maxOutputTokens ?? defaults.outputTokens),
      costMicrosUsd: Number(asked?.maxCostMicrosUsd ?? Number.POSITIVE_INFINITY),
      durationMs: milliseconds(asked?.maxDuration) ?? defaults.duration,
    },
    caps,
  );
}

/** The budget of a run that gets more. */
export function budgetWith(
  before: Budget,
  additional: BudgetMessage | undefined,
  { caps }: Pick<BudgetDefaults, "caps">,
): Budget {
  return capped(
    {
      turns: before.turns + (additional?.maxTurns ?? 0),
      toolCalls: before.toolCalls + (additional?.maxToolCalls ?? 0),
      outputTokens: before.outputTokens + Number(additional?.maxOutputTokens ?? 0),
      costMicrosUsd: before.costMicrosUsd + Number(additional?.maxCostMicrosUsd ?? 0),
      durationMs: before.durationMs + (milliseconds(additional?.maxDuration) ?? 0),
    },
    caps,
  );
}

function capped(budget: Budget, caps: BudgetDefaults["caps"]): Budget {
  const costCap = caps.costUsd === undefined ? Number.POSITIVE_INFINITY : caps.costUsd * MICROS_PER_USD;
  return {
    turns: Math.min(budget.turns, caps.turns),
    toolCalls: Math.min(budget.toolCalls, caps.toolCalls),
    outputTokens: Math.min(budget.outputTokens, caps.outputTokens),
    costMicrosUsd: Math.min(budget.costMicrosUsd, costCap),
    durationMs: Math.min(budget.durationMs, caps.duration),
  };
}

/**
 * A budget in money needs the price of each model that may be asked: one that is in force when the run begins, since it, or
 * one that follows it, then holds all the time.
 *
 * @throws {ParleyError} INVALID_REQUEST.
 */
export function checkPrices(budget: Budget, models: readonly string[], prices: PriceTable, field: string): void {
  if (!Number.isFinite(budget.costMicrosUsd)) return;
  const unknown = models.find((model) => prices.outputTokensFor(model, 1) === undefined);
  if (unknown === undefined) return;
  throw invalidField(field, `cannot be kept: the configuration of this service has no price in force for ${unknown}`);
}

/** The share of a deadline that is held back for the last answer at the most, where the caller does not say. */
const RESERVED_SHARE = 0.2;

/**
 * What is held back of a deadline for the last answer, in milliseconds.
 *
 * @param left until the deadline, in milliseconds.
 * @throws {ParleyError} INVALID_REQUEST when the caller asks for more than there is.
 */
export function reserveOf(
  asked: BudgetMessage | undefined,
  left: number,
  { defaults }: Pick<BudgetDefaults, "defaults">,
  field: string,
): number {
  const reserve = milliseconds(asked?.deadlineReserve);
  if (reserve === undefined) return Math.min(defaults.deadlineReserve, left * RESERVED_SHARE);
  if (reserve < left) return reserve;
  throw invalidField(field, `must be shorter than the deadline of the call, which is ${Math.round(left)} ms away`);
}

function milliseconds(duration: Duration | undefined): number | undefined {
  return duration === undefined ? undefined : durationMs(duration);
}
