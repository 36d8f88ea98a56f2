import type { MessageCreateParamsStreaming, MessageParam } from "@anthropic-ai/sdk/resources/messages";
import type { Answer } from "../upstream/answer.ts";
import type { RequestOrigin } from "../upstream/upstream.ts";
import { type Budget, type BudgetKind, exhaustedBudget } from "./budget.ts";
import { toolCalls, withNotice } from "./history.ts";
import type { LoopEvent, LoopOutcome } from "./loop-event.ts";
import type { LoopObserver } from "./loop-observer.ts";
import type { LoopState } from "./loop-state.ts";
import { makePendingCalls, type PendingCallsOptions } from "./pending-calls.ts";
import type { PriceTable } from "./prices.ts";
import { withCacheBreakpoints } from "./prompt-cache.ts";
import { OutOfTime, turnInTime } from "./time-limit.ts";
import type { ToolSlots } from "./tool-set.ts";
import { type TurnDependencies, TurnProgress, type TurnRequest, turn } from "./turn.ts";

export interface LoopRequest extends Pick<PendingCallsOptions, "tools" | "maxParallel" | "context"> {
  /** What each turn asks, but for the messages, which the state has. */
  readonly turn: TurnRequest;
  readonly budget: Budget;
  /** Whether Parley sets prompt-cache breakpoints. */
  readonly cachesPrompts: boolean;
  /** Whom the run is for, and as a part of which trace. */
  readonly origin: RequestOrigin;
}

export interface LoopDependencies extends TurnDependencies, Pick<PendingCallsOptions, "onFault"> {
  readonly slots: ToolSlots;
  readonly observer: LoopObserver;
  readonly prices: PriceTable;
  /** The most bytes of a tool's result that Claude is given. */
  readonly maxResultBytes: number;
}

export interface LoopLimits {
  readonly signal: AbortSignal;
  /** When the loop must be over, by `performance.now()`. */
  readonly deadline: number;
  /** When only the last answer may be left to do, and which budget says so. */
  readonly lastTurn: { readonly at: number; readonly budget: BudgetKind };
}

/**
 * Turns and tool calls until Claude has an answer, a budget is exhausted, or somebody has to act. Yields what happens in
 * batches: all that came in one turn of the event loop.
 *
 * @param state where to begin. It moves on with the loop, and can be gone on from however the loop ends.
 * @throws as `turn` does.
 */
export async function* runLoop(
  request: LoopRequest,
  state: LoopState,
  dependencies: LoopDependencies,
  limits: LoopLimits,
): AsyncGenerator<readonly LoopEvent[], LoopOutcome> {
  const loop = new Loop(request, state, dependencies, limits);
  for (;;) {
    const stop = yield* loop.makeCalls();
    if (stop?.kind === "action_required") return stop;
    const exhausted = stop?.budget ?? loop.exhausted();
    if (exhausted !== undefined) return yield* loop.lastTurn(exhausted);
    state.settle();
    const outcome = yield* loop.nextTurn();
    if (outcome !== undefined) return outcome;
  }
}

/**
 * A turn with less time than this would be cut before Claude has begun, in milliseconds. The services of tools are told to
 * answer a moment before the time is up.
 */
const LEAST_TURN_MS = 20;

const NOTICE =
  "The budget of this run is used up, so no more tools can be called. Give the best answer that you can from what you " +
  "have, and say what is missing.";

class Loop {
  readonly #request: LoopRequest;
  readonly #state: LoopState;
  readonly #dependencies: LoopDependencies;
  readonly #limits: LoopLimits;

  constructor(request: LoopRequest, state: LoopState, dependencies: LoopDependencies, limits: LoopLimits) {
    this.#request = request;
    this.#state = state;
    this.#dependencies = dependencies;
    this.#limits = limits;
  }

  /** Makes the pending calls. Returns why Claude cannot be asked to go on with their results, if so. */
  async *makeCalls(): AsyncGenerator<
    readonly LoopEvent[],
    Extract<LoopOutcome, { kind: "action_required" }> | { kind: "over_budget"; budget: BudgetKind } | undefined
  > {
    if (this.#state.pending.length === 0) return undefined;
    const { tools, maxParallel, context, budget, origin } = this.#request;
    const { slots, observer, onFault, maxResultBytes } = this.#dependencies;
    const { signal, lastTurn } = this.#limits;
    const limits = { signal, deadline: lastTurn.at, maxResultBytes };
    const maxCalls = budget.toolCalls;
    const made = yield* makePendingCalls(this.#state, {
      tools,
      slots,
      maxParallel,
      maxCalls,
      context,
      limits,
      observer,
      trace: origin.trace,
      onFault,
    });
    if (made.actions.length > 0) return { kind: "action_required", actions: made.actions };
    return made.overBudget ? { kind: "over_budget", budget: "tool_calls" } : undefined;
  }

  exhausted(): BudgetKind | undefined {
    return exhaustedBudget(this.#request.budget, this.#state) ?? this.#timeIsUp() ?? this.#outputIsUp();
  }

  #timeIsUp(): BudgetKind | undefined {
    const { at, budget } = this.#limits.lastTurn;
    return performance.now() + LEAST_TURN_MS >= at ? budget : undefined;
  }

  /** Claude refuses a limit that is not above what it may think. */
  #outputIsUp(): BudgetKind | undefined {
    const { thinking } = this.#request.turn.params;
    const least = thinking?.type === "enabled" ? thinking.budget_tokens + 1 : 1;
    const { tokens, budget } = this.#outputAllowed();
    return tokens < least ? budget : undefined;
  }

  /** A turn with tools. Returns how the loop ends with it, if it does. */
  async *nextTurn(): AsyncGenerator<readonly LoopEvent[], LoopOutcome | undefined> {
    const state = this.#state;
    const { params } = this.#request.turn;
    const allowed = this.#outputAllowed();
    const bounded = { ...params, max_tokens: Math.min(params.max_tokens, allowed.tokens) };
    const isFirst = state.turns === 0;
    const answer = yield* this.#turn(isFirst ? bounded : freeToolChoice(bounded), state.messages, undefined);
    if (answer === undefined) return yield* this.lastTurn(this.#limits.lastTurn.budget);
    switch (answer.text("stop_reason")) {
      case "tool_use":
        if (toolCalls(answer).length === 0) break;
        state.answered(answer);
        return undefined;
      case "pause_turn":
        state.answered(answer);
        return undefined;
      case "max_tokens":
        if (allowed.tokens < params.max_tokens) return yield* this.lastTurn(allowed.budget);
        break;
    }
    return { kind: "finished", answer };
  }

  /** The last turn, in which Claude cannot call tools. What it answers is no part of the state. */
  async *lastTurn(exhausted: BudgetKind): AsyncGenerator<readonly LoopEvent[], LoopOutcome> {
    const messages = withNotice(this.#state.settled(), NOTICE);
    const answer = yield* this.#turn(withoutTools(this.#request.turn.params), messages, exhausted);
    if (answer === undefined) throw new TypeError("the last turn is not cut");
    return { kind: "exhausted", budget: exhausted, answer };
  }

  /** How many tokens a turn may generate, by the budget that allows the fewest. */
  #outputAllowed(): { readonly tokens: number; readonly budget: BudgetKind } {
    const { budget, turn } = this.#request;
    const { params } = turn;
    const state = this.#state;
    const byCount = budget.outputTokens - state.outputTokens;
    const left = budget.costMicrosUsd - state.costMicrosUsd;
    const models = [params.model, ...turn.fallbackModels];
    const byCost = Number.isFinite(left)
      ? Math.min(...models.map((model) => this.#dependencies.prices.outputTokensFor(model, left) ?? 0))
      : Number.POSITIVE_INFINITY;
    return { tokens: Math.min(byCount, byCost), budget: byCost < byCount ? "cost" : "output_tokens" };
  }

  /** Returns undefined when the turn was cut, since the time for all but the last turn is up. */
  async *#turn(
    params: MessageCreateParamsStreaming,
    messages: readonly MessageParam[],
    exhausted: BudgetKind | undefined,
  ): AsyncGenerator<readonly LoopEvent[], Answer | undefined> {
    const state = this.#state;
    const { turn: template, cachesPrompts } = this.#request;
    const { signal, deadline, lastTurn } = this.#limits;
    const whole = { ...params, messages: [...messages] };
    const cached = cachesPrompts ? withCacheBreakpoints(whole, { loop: true, minPrefixBytes: 0 }) : whole;
    // A deadline gives no right to more turns: each call that resumes the run brings another one.
    const isOnTop = exhausted !== undefined && exhausted !== "deadline";
    if (isOnTop) state.lastTurns++;
    else state.turns++;
    const number = state.turns + state.lastTurns;
    yield [{ kind: "turn_started", turn: number, exhausted }];
    const observed = this.#dependencies.observer.turnStarted(number, this.#request.origin.trace);
    const origin = { ...this.#request.origin, trace: observed.trace };
    const progress = new TurnProgress();
    const asked = { ...template, params: cached };
    let sequence = 0;
    let failure: { readonly error: unknown } | undefined;
    try {
      const batches =
        exhausted === undefined
          ? turnInTime(asked, progress, this.#dependencies, { signal, deadline: lastTurn.at, origin })
          : await turn(asked, progress, this.#dependencies, { signal, deadline, origin });
      for await (const batch of batches) {
        const { answer } = progress;
        yield batch.map((event) => ({ kind: "message", event, answer, sequence: ++sequence }));
      }
    } catch (error) {
      failure = { error };
    } finally {
      // Also when those who follow the loop give up.
      observed.ended(progress.answer, signal.aborted ? signal.reason : failure?.error);
    }
    this.#account(progress, params.model, isOnTop);
    const { answer } = progress;
    yield [{ kind: "turn_finished", turn: number, answer, isComplete: failure === undefined }];
    if (failure === undefined) return answer;
    signal.throwIfAborted();
    if (failure.error instanceof OutOfTime) return undefined;
    throw failure.error;
  }

  #account({ answer, attempts }: TurnProgress, asked: string, isOnTop: boolean): void {
    const state = this.#state;
    state.attempts += attempts;
    if (isOnTop || !answer.begun) return;
    const { members } = answer.usage;
    const tokens = Number(members.get("output_tokens") ?? 0) || 0;
    const { prices } = this.#dependencies;
    const model = answer.text("model");
    // A budget must hold also when the model that was asked answers under a name that has no price.
    const cost = prices.costMicrosUsd(model, members) ?? prices.costMicrosUsd(asked, members) ?? 0;
    // Without end, they are more than any budget, but not more than none.
    state.outputTokens += Math.min(Math.max(0, tokens), Number.MAX_SAFE_INTEGER);
    state.costMicrosUsd += Math.min(cost, Number.MAX_SAFE_INTEGER);
  }
}

/** A choice that forces a tool holds for the first turn: in all, the loop would have no end. */
function freeToolChoice(params: MessageCreateParamsStreaming): MessageCreateParamsStreaming {
  const choice = params.tool_choice;
  if (choice === undefined || (choice.type !== "any" && choice.type !== "tool")) return params;
  const { disable_parallel_tool_use: sequential } = choice;
  return {
    ...params,
    tool_choice: { type: "auto", ...(sequential !== undefined && { disable_parallel_tool_use: sequential }) },
  };
}

/** The tools stay in the request, since the history has calls of them, and the prompt cache begins with them. */
function withoutTools(params: MessageCreateParamsStreaming): MessageCreateParamsStreaming {
  return (params.tools ?? []).length === 0 ? params : { ...params, tool_choice: { type: "none" } };
}
