import { randomUUIDv7 } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { create, equals } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import {
  type RunAgentRequest,
  RunAgentRequestSchema,
  RunSchema,
  RunState,
} from "../../gen/parley/v1/agent_service_pb.js";
import type { Budget } from "../agent/budget.ts";
import { LoopState } from "../agent/loop-state.ts";
import { abortCause } from "../errors/abort-cause.ts";
import { invalidField, ParleyError } from "../errors/parley-error.ts";
import { type ActionAnswer, answerActions } from "./action-answers.ts";
import { ActiveRun, type RunCall, type RunEnvironment, type RunTask, type WorkCause } from "./active-run.ts";
import { hasEnded, type RunRecord } from "./run-record.ts";
import type { RunQuery, StoredEvent } from "./run-store.ts";

/** A run to start. */
export interface NewRun {
  readonly owner: string;
  readonly request: RunAgentRequest;
  /** Path of `request` in the message that it came in (`""` or `"run."`), for errors. */
  readonly prefix: string;
  readonly messages: LoopState["messages"];
  readonly budget: Budget;
  readonly task: RunTask;
}

export interface RunsOptions extends RunEnvironment {
  /** The most runs that have not ended, in this process. */
  readonly maxActive: number;
}

/** How many events are read at a time: no more wait in memory for a caller that is slow. */
const EVENTS_PER_READ = 256;

/** All runs of this process, and those that the store has. */
export class Runs implements AsyncDisposable {
  readonly #options: RunsOptions;
  readonly #active = new Map<string, ActiveRun>();
  /** Runs that the store is about to take. */
  #starting = 0;
  /** Why no run can begin any more. */
  #closing: ParleyError | undefined;

  constructor(options: RunsOptions) {
    this.#options = options;
  }

  /**
   * Starts a run, or finds the one that the same request has started.
   *
   * @param call the call that the run ends with. Undefined: it goes on without one.
   * @throws {ParleyError} RUN_LIMIT_REACHED; INVALID_REQUEST when another request had the same identifier; SHUTTING_DOWN.
   */
  async start(
    { owner, request, prefix, messages, budget, task }: NewRun,
    call: RunCall | undefined,
  ): Promise<{ readonly record: RunRecord; readonly existing: boolean }> {
    const { store } = this.#options;
    const { chat } = request;
    const requestId = chat?.requestId ?? "";
    const refusal = this.#refusal();
    if (refusal !== undefined) {
      const earlier = requestId === "" ? undefined : await store.findRequest(owner, requestId);
      if (earlier === undefined) throw refusal;
      return { record: sameRequest(earlier, request, prefix), existing: true };
    }
    const now = timestampNow();
    const state = new LoopState(messages);
    const record: RunRecord = {
      run: create(RunSchema, {
        id: `run_${randomUUIDv7().replaceAll("-", "")}`,
        state: RunState.QUEUED,
        createTime: now,
        updateTime: now,
        labels: chat?.labels ?? {},
      }),
      owner,
      requestId,
      request,
      budget,
      state,
      finalMessage: undefined,
      answers: new Map(),
      failure: undefined,
    };
    this.#starting++;
    const kept = await store.create(record).finally(() => this.#starting--);
    if (kept !== record) return { record: sameRequest(kept, request, prefix), existing: true };
    endWith(call, this.#activate(record, state, task), (active) => active.begin("runStarted", call));
    return { record, existing: false };
  }

  /**
   * Goes on with a run that has ended where it can be resumed. Parameters as those of `start`.
   *
   * @throws {ParleyError} RUN_NOT_RESUMABLE, RUN_LIMIT_REACHED, SHUTTING_DOWN.
   */
  resume(record: RunRecord, budget: Budget, task: RunTask, call: RunCall | undefined): void {
    const { run, state } = record;
    const resumable = run.state === RunState.BUDGET_EXHAUSTED || run.state === RunState.INTERRUPTED;
    if (!resumable || state === undefined || this.#active.has(run.id)) {
      throw new ParleyError(
        "RUN_NOT_RESUMABLE",
        `a run in state ${RunState[run.state]} cannot be resumed, only one in BUDGET_EXHAUSTED or INTERRUPTED`,
      );
    }
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    record.budget = budget;
    endWith(call, this.#activate(record, state, task), (active) => active.begin("runResumed", call));
  }

  /**
   * A run of a caller.
   *
   * @throws {ParleyError} NOT_FOUND, also when it is somebody else's.
   */
  async find(id: string, owner: string): Promise<RunRecord> {
    const record = await this.#options.store.find(id);
    if (record === undefined || record.owner !== owner) {
      throw new ParleyError(
        "NOT_FOUND",
        `there is no run ${id}: it never was, or has expired, or is another caller's`,
        {
          resource: { type: "parley.v1.Run", name: id },
        },
      );
    }
    return record;
  }

  /** The runs that have not ended, in this process. */
  get active(): readonly RunRecord[] {
    return [...this.#active.values()].map(({ record }) => record);
  }

  list(query: RunQuery): Promise<readonly RunRecord[]> {
    return this.#options.store.list(query);
  }

  /** Cancels a run, and waits until it has ended. One that has ended stays as it is. */
  async cancel(record: RunRecord, reason: string): Promise<void> {
    const why = reason === "" ? "the run was cancelled" : `the run was cancelled: ${reason}`;
    await this.#active.get(record.run.id)?.cancel(new ParleyError("CANCELLED", why));
  }

  /**
   * Answers actions that a run waits for, and lets it go on when all are answered.
   *
   * @param cause the call with the answers.
   * @throws {ParleyError} INVALID_REQUEST, RUN_NOT_WAITING.
   */
  async answer(record: RunRecord, answers: readonly ActionAnswer[], cause?: WorkCause): Promise<void> {
    const active = this.#active.get(record.run.id);
    if (answerActions(record, active?.pending ?? [], answers)) void active?.work(undefined, cause);
  }

  /**
   * The events of a run after a sequence number, in batches, and then those to come, until it has ended.
   *
   * @throws {ParleyError} RUN_EVENTS_EXPIRED when they are no longer kept; the signal's reason.
   */
  async *follow(record: RunRecord, after: number, signal: AbortSignal): AsyncGenerator<readonly StoredEvent[]> {
    const { store } = this.#options;
    const { run } = record;
    let last = after;
    for (;;) {
      signal.throwIfAborted();
      const events = await store.read(run.id, last, EVENTS_PER_READ);
      if (events.length > 0) {
        last = events.at(-1)?.sequence ?? last;
        yield events;
        // A long replay takes turns with all else, also where nobody waits for it to be sent.
        if (events.length === EVENTS_PER_READ) await setImmediate();
      } else if (hasEnded(run) && run.lastSequence <= last) {
        return;
      } else {
        await store.changed(run.id, last, signal);
      }
    }
  }

  /** Resolves when no run is at work any more. */
  async idle(): Promise<void> {
    for (;;) {
      const working = [...this.#active.values()].flatMap((active) => active.working ?? []);
      if (working.length === 0) return;
      await Promise.all(working);
    }
  }

  /**
   * Ends runs that wait for somebody to act, at once or when they come to it, so that they can be resumed: nobody can act
   * any more.
   */
  async endAtAction(reason: ParleyError): Promise<void> {
    await Promise.all(
      Array.from(this.#active, async ([id, active]) => {
        const isActive = () => this.#active.get(id) === active;
        while (isActive() && active.working !== undefined) await active.working;
        if (isActive()) await active.cancel(reason);
      }),
    );
  }

  /** Ends all runs, so that they can be resumed. No other can begin after that. */
  async interrupt(reason: ParleyError): Promise<void> {
    this.#closing = reason;
    await Promise.all([...this.#active.values()].map((active) => active.cancel(reason)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.interrupt(new ParleyError("SHUTTING_DOWN", "this replica is shutting down"));
    await this.#options.store[Symbol.asyncDispose]();
  }

  #activate(record: RunRecord, state: LoopState, task: RunTask): ActiveRun {
    const { id } = record.run;
    const active = new ActiveRun(record, state, task, this.#options, () => {
      this.#active.delete(id);
      this.#options.observer.ended(record);
    });
    this.#active.set(id, active);
    return active;
  }

  /** Why no other run can begin now. */
  #refusal(): ParleyError | undefined {
    const { maxActive } = this.#options;
    if (this.#closing !== undefined || this.#active.size + this.#starting < maxActive) return this.#closing;
    return new ParleyError("RUN_LIMIT_REACHED", `${maxActive} runs are active, which is the limit of this replica`);
  }
}

/** Lets a run work that ends with a call, if there is one. */
function endWith(call: RunCall | undefined, active: ActiveRun, work: (active: ActiveRun) => Promise<void>): void {
  const working = work(active);
  if (call === undefined) return;
  const onAbort = () => void active.cancel(abortCause(call) as Error);
  call.signal.addEventListener("abort", onAbort, { once: true });
  if (call.signal.aborted) onAbort();
  void working.finally(() => {
    call.isOver = true;
    call.signal.removeEventListener("abort", onAbort);
  });
}

/** @throws {ParleyError} INVALID_REQUEST when it was not this request that has started the run. */
function sameRequest(record: RunRecord, request: RunAgentRequest, prefix: string): RunRecord {
  if (equals(RunAgentRequestSchema, record.request, request)) return record;
  throw invalidField(`${prefix}chat.request_id`, "must be new: another request has had the same");
}
