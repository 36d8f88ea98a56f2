import { clone, create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs, timestampNow } from "@bufbuild/protobuf/wkt";
import type { Context } from "@opentelemetry/api";
import type { Status } from "../../gen/google/rpc/status_pb.js";
import {
  AgentEventSchema,
  BudgetKind,
  PendingActionSchema,
  RunSchema,
  RunState,
} from "../../gen/parley/v1/agent_service_pb.js";
import type { ChatResponse } from "../../gen/parley/v1/chat_service_pb.js";
import { LinkedAbort } from "../agent/linked-abort.ts";
import { type LoopDependencies, type LoopLimits, type LoopRequest, runLoop } from "../agent/loop.ts";
import type { LoopEvent, LoopOutcome, PendingAction } from "../agent/loop-event.ts";
import type { LoopState } from "../agent/loop-state.ts";
import { failureOf } from "../errors/connect-error.ts";
import { ParleyError } from "../errors/parley-error.ts";
import type { Answer } from "../upstream/answer.ts";
import { budgetKinds } from "./budget-kinds.ts";
import type { EventKind, RunFormat } from "./run-format.ts";
import type { RunObserver } from "./run-observer.ts";
import { hasEnded, type RunRecord } from "./run-record.ts";
import type { RunStore, StoredEvent } from "./run-store.ts";

/** The call because of which a run works. The work may outlast it. */
export interface WorkCause {
  /** Parley's identifier of the call. */
  readonly callId: string;
  readonly trace: Context | undefined;
}

/** What a run does, besides what its record says. */
export interface RunTask {
  readonly loop: Omit<LoopRequest, "budget" | "context" | "origin"> & {
    readonly caller: LoopRequest["context"]["caller"];
  };
  readonly cause: WorkCause;
  /** The answer as callers get it. Throws when it does not have the form that was asked for. */
  readonly finalMessage: (answer: Answer) => ChatResponse;
  /** For a last answer, when no caller's deadline says how long it may take. In milliseconds. */
  readonly reserveMs: number;
}

/** A call whose deadline a run has, and which it ends with. */
export interface RunCall {
  readonly signal: AbortSignal;
  /** By `performance.now()`. */
  readonly deadline: number;
  /** What is held back of that for a last answer, in milliseconds. */
  readonly reserveMs: number;
  /** Set when the run does not work for the call any more: it has ended, or waits for somebody to act. */
  isOver?: boolean;
}

export interface RunEnvironment {
  readonly store: RunStore;
  readonly format: RunFormat;
  readonly loop: Omit<LoopDependencies, "onFault">;
  readonly observer: RunObserver;
  /** Is told of what a tool threw that it should not have. */
  readonly onFault: (record: RunRecord, tool: string, fault: unknown) => void;
  /** How long a run is kept when it has ended, in milliseconds. */
  readonly retentionMs: number;
  /** How long a run waits for the caller to act, in milliseconds. */
  readonly actionTimeoutMs: number;
}

/** Callers must hear how a run has ended before their own clocks end the call. In milliseconds, and as a share. */
const LAST_WORD = { mostMs: 100, share: 0.05 };

/** A run at work in this process, or waiting for somebody to act. */
export class ActiveRun {
  readonly record: RunRecord;
  readonly #task: RunTask;
  readonly #state: LoopState;
  readonly #environment: RunEnvironment;
  readonly #onEnd: () => void;
  readonly #controller = new AbortController();
  #working: Promise<void> | undefined;
  #expiry: NodeJS.Timeout | undefined;

  /** @param onEnd is called when the run has ended, and all who watch it know. */
  constructor(record: RunRecord, state: LoopState, task: RunTask, environment: RunEnvironment, onEnd: () => void) {
    this.record = record;
    this.#state = state;
    this.#task = task;
    this.#environment = environment;
    this.#onEnd = onEnd;
  }

  /** Settles when the run has ended or waits for somebody to act. Undefined: it does. Never rejects. */
  get working(): Promise<void> | undefined {
    return this.#working;
  }

  /** The calls that Claude waits for. */
  get pending(): LoopState["pending"] {
    return this.#state.pending;
  }

  /** Begins the run, or goes on with one that had ended. Otherwise as `work`. */
  begin(how: "runStarted" | "runResumed", call: RunCall | undefined): Promise<void> {
    const { run } = this.record;
    delete run.error;
    delete run.finishTime;
    delete run.expireTime;
    run.exhaustedBudget = BudgetKind.UNSPECIFIED;
    this.record.failure = undefined;
    return this.work(call, this.#task.cause, how);
  }

  /** Goes on until the run has ended or somebody has to act. With a call it does not outlive that. Never rejects. */
  work(call: RunCall | undefined, cause: WorkCause | undefined, how?: "runStarted" | "runResumed"): Promise<void> {
    clearTimeout(this.#expiry);
    const { run } = this.record;
    run.state = RunState.RUNNING;
    run.pendingActions = [];
    // The answer to an action may be there before the store has taken that somebody must act.
    const before = this.#working;
    const work = () => this.#work(call, cause, how);
    const working = (before === undefined ? work() : before.then(work)).finally(() => {
      if (this.#working === working) this.#working = undefined;
    });
    this.#working = working;
    return working;
  }

  /** Ends the run, if it has not ended. Resolves when it has. */
  async cancel(reason: Error): Promise<void> {
    if (!this.#controller.signal.aborted) {
      if (this.record.run.state === RunState.RUNNING) this.record.run.state = RunState.CANCELLING;
      this.#controller.abort(reason);
      if (this.#working === undefined) this.#working = this.#fail(reason);
    }
    await this.#working;
  }

  async #work(
    call: RunCall | undefined,
    cause: WorkCause | undefined,
    how: "runStarted" | "runResumed" | undefined,
  ): Promise<void> {
    const { run, budget } = this.record;
    if (hasEnded(run)) return;
    const observed = this.#environment.observer.workStarted(this.record, cause?.trace);
    this.record.span = observed.span;
    this.record.callId = cause?.callId;
    const startedAt = performance.now();
    const limits = this.#limits(call, startedAt);
    using end = new LinkedAbort(this.#controller.signal, limits.deadline, () =>
      end.abort(new ParleyError("DEADLINE_EXCEEDED", "the time of the run is up")),
    );
    let events: ReturnType<typeof runLoop> | undefined;
    try {
      if (how !== undefined) await this.#tell([{ case: how, value: { run } }]);
      const { caller, ...loop } = this.#task.loop;
      const { onFault } = this.#environment;
      const origin = { caller: this.record.owner, trace: observed.trace };
      events = runLoop(
        { ...loop, budget, origin, context: { runId: run.id, caller } },
        this.#state,
        { ...this.#environment.loop, onFault: (tool, fault) => onFault(this.record, tool, fault) },
        { ...limits, signal: end.signal },
      );
      await this.#conclude(await this.#outcomeOf(events, startedAt));
    } catch (error) {
      // What is still at work for it stops. If that is how it ended, the reason for it counts.
      end.abort(error);
      // When the store does not take what the loop tells, it waits in the middle of a turn, and would do so for ever.
      await events?.return(undefined as never).catch(() => {});
      await this.#fail(end.signal.reason);
    } finally {
      observed.ended();
    }
  }

  async #outcomeOf(events: ReturnType<typeof runLoop>, startedAt: number): Promise<LoopOutcome> {
    try {
      let next = await events.next();
      for (; next.done !== true; next = await events.next()) await this.#loopEvents(next.value);
      return next.value;
    } finally {
      this.#state.activeMs += performance.now() - startedAt;
    }
  }

  #limits(call: RunCall | undefined, now: number): Omit<LoopLimits, "signal"> {
    const spent = now + this.record.budget.durationMs - this.#state.activeMs;
    if (call === undefined) {
      return { deadline: spent + this.#task.reserveMs, lastTurn: { at: spent, budget: "duration" } };
    }
    const deadline = call.deadline - Math.min(LAST_WORD.mostMs, LAST_WORD.share * (call.deadline - now));
    const reserved = deadline - call.reserveMs;
    return {
      deadline,
      lastTurn: spent < reserved ? { at: spent, budget: "duration" } : { at: reserved, budget: "deadline" },
    };
  }

  async #loopEvents(events: readonly LoopEvent[]): Promise<void> {
    const { format } = this.#environment;
    const { run } = this.record;
    run.turns = this.#state.turns + this.#state.lastTurns;
    run.toolCalls = this.#state.toolCalls;
    for (const event of events) {
      // Of an answer that never began nothing is known, not even its model.
      if (event.kind === "turn_finished" && event.answer.begun)
        run.usage = format.sum(run.usage, format.usage(event.answer));
    }
    await this.#tell(events.map((event) => format.event(event)));
  }

  async #conclude(outcome: LoopOutcome): Promise<void> {
    if (outcome.kind === "action_required") {
      await this.#requireAction(outcome.actions);
      return;
    }
    this.record.finalMessage = this.#task.finalMessage(outcome.answer);
    const { run } = this.record;
    if (outcome.kind === "exhausted") {
      run.state = RunState.BUDGET_EXHAUSTED;
      run.exhaustedBudget = budgetKinds[outcome.budget];
      // The last turn came on top.
      this.#state.activeMs = Math.min(this.#state.activeMs, this.record.budget.durationMs);
    } else {
      run.state = RunState.SUCCEEDED;
      this.record.state = undefined;
    }
    await this.#finish();
  }

  async #requireAction(actions: readonly PendingAction[]): Promise<void> {
    const { format, actionTimeoutMs } = this.#environment;
    const { run } = this.record;
    run.state = RunState.REQUIRES_ACTION;
    run.pendingActions = actions.map((action) => create(PendingActionSchema, format.action(action)));
    const expireTime = timestampFromMs(Date.now() + actionTimeoutMs);
    const expired = () => new ParleyError("ACTION_EXPIRED", "nobody has acted within the time that the run waits");
    this.#expiry = setTimeout(() => void this.cancel(expired()), actionTimeoutMs).unref();
    await this.#tell([{ case: "actionRequired", value: { actions: run.pendingActions, expireTime } }]);
    // Until now whoever cancelled it has left its end to this.
    this.#controller.signal.throwIfAborted();
  }

  async #fail(error: unknown): Promise<void> {
    clearTimeout(this.#expiry);
    this.record.failure = error;
    const { run } = this.record;
    const { reason } = failureOf(error);
    run.state =
      reason === "CANCELLED" ? RunState.CANCELLED : reason === "SHUTTING_DOWN" ? RunState.INTERRUPTED : RunState.FAILED;
    if (run.state !== RunState.INTERRUPTED) this.record.state = undefined;
    run.error = this.#statusOf(error);
    await this.#finish();
  }

  /** A run must end, also if what it failed with cannot be told. */
  #statusOf(error: unknown): Status {
    const { format } = this.#environment;
    try {
      return format.status(error, this.record.run.id);
    } catch {
      return format.status(undefined, this.record.run.id);
    }
  }

  async #finish(): Promise<void> {
    const { run, finalMessage } = this.record;
    run.pendingActions = [];
    run.finishTime = timestampNow();
    run.expireTime = timestampFromMs(Date.now() + this.#environment.retentionMs);
    try {
      await this.#tell([{ case: "runFinished", value: { run, ...(finalMessage !== undefined && { finalMessage }) } }]);
    } catch (error) {
      // The run is over in this process, also if the store cannot be told.
      this.record.failure ??= error;
    }
    this.#onEnd();
  }

  /** Adds events to the run, for all who watch it. */
  async #tell(kinds: readonly EventKind[]): Promise<void> {
    const { run } = this.record;
    const eventTime = timestampNow();
    run.updateTime = eventTime;
    const stored = kinds.map((kind): StoredEvent => {
      const sequence = ++run.lastSequence;
      // What is told of the run moves on, but not what this event tells of it.
      if ("run" in (kind.value ?? {})) Object.assign(kind.value as object, { run: clone(RunSchema, run) });
      const ignorable = kind.case === "toolCallProgress";
      const event = create(AgentEventSchema, { runId: run.id, sequence, eventTime, ignorable, event: kind as never });
      return { sequence, event, bytes: toBinary(AgentEventSchema, event) };
    });
    await this.#environment.store.append(this.record, stored);
  }
}
