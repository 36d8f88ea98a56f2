import { hash } from "node:crypto";
import type { ToolResultBlockParam, ToolUnion } from "@anthropic-ai/sdk/resources/messages";
import { toBinary } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import {
  BudgetKind,
  type RunAgentRequest,
  type ToolAnswer,
  ToolAnswerSchema,
} from "../../../gen/parley/v1/agent_service_pb.js";
import type { Budget } from "../../agent/budget.ts";
import type { ToolSet } from "../../agent/tool-set.ts";
import type { TurnRequest } from "../../agent/turn.ts";
import { invalidField } from "../../errors/parley-error.ts";
import type { ActionAnswer } from "../../runs/action-answers.ts";
import type { RunTask } from "../../runs/active-run.ts";
import type { RunRecord } from "../../runs/run-record.ts";
import type { NewRun } from "../../runs/runs.ts";
import type { Tool } from "../../tools/tool.ts";
import { members, parseValid, RawJson } from "../../upstream/raw-json.ts";
import type { Call } from "../call.ts";
import type { AgentDependencies } from "../dependencies.ts";
import { textOrBlocks } from "./blocks-to-claude.ts";
import { budgetOf, checkPrices } from "./budget.ts";
import { toolFinder } from "./registered-tools.ts";
import { toRunTurn } from "./request.ts";
import { answerFormat, formattedResponse } from "./structured-output.ts";

/**
 * A run to start. `prefix` is the path of the RunAgentRequest in the request message (`""` or `"run."`), for errors.
 *
 * @throws {ParleyError} as `toTurnRequest`; also TOOL_NOT_REGISTERED.
 */
export function newRun(request: RunAgentRequest, prefix: string, call: Call, dependencies: AgentDependencies): NewRun {
  const { budgets, prices } = dependencies;
  const { turn, task } = prepare(request, prefix, call, dependencies);
  const budget = budgetOf(request.budget, budgets);
  checkPrices(budget, modelsOf(turn), prices, `${prefix}budget.max_cost_micros_usd`);
  return { owner: call.record.caller, request, prefix, messages: turn.params.messages, budget, task };
}

/** What a run does that goes on. Parameters and errors as those of `newRun`. */
export function runTask(
  request: RunAgentRequest,
  prefix: string,
  call: Call,
  dependencies: AgentDependencies,
): RunTask {
  return prepare(request, prefix, call, dependencies).task;
}

function prepare(
  { chat, budget, maxParallelToolCalls }: RunAgentRequest,
  prefix: string,
  call: Call,
  { defaults, tools: registry, budgets, prices }: AgentDependencies,
): { readonly turn: TurnRequest; readonly task: RunTask } {
  if (chat === undefined) throw new TypeError("chat is required: the validation has let it pass");
  const tools = new Map<string, Tool>();
  const finder = toolFinder(registry, (tool) => tools.set(tool.name, tool));
  const turn = toRunTurn(chat, `${prefix}chat.`, defaults, finder);
  if (turn.params.tools instanceof RawJson) {
    throw invalidField(`${prefix}chat.extra_params_json`, "must not have tools: those of a run are in chat.tools");
  }
  const { deadlineReserve, parallelToolCalls } = budgets.defaults;
  const reserve = budget?.deadlineReserve === undefined ? deadlineReserve : durationMs(budget.deadlineReserve);
  const { record } = call;
  const format = answerFormat(chat.outputConfig, defaults.messageTypes);
  return {
    turn,
    task: {
      loop: {
        turn,
        tools: toolSet(tools, turn.params.tools ?? []),
        maxParallel: maxParallelToolCalls || parallelToolCalls,
        cachesPrompts: defaults.promptCaching.enabled && !chat.disablePromptCaching,
        caller: { name: record.caller, header: call.header },
      },
      cause: { callId: record.id, trace: record.trace },
      finalMessage: (answer) => formattedResponse(answer, format, prices),
      reserveMs: Math.min(reserve, budgets.caps.duration),
    },
  };
}

function modelsOf({ params, fallbackModels }: TurnRequest): readonly string[] {
  return [params.model, ...fallbackModels];
}

/** The tools of a run: what is not Parley's, and was defined in the request, is the caller's. */
function toolSet(tools: ReadonlyMap<string, Tool>, definitions: readonly ToolUnion[]): ToolSet {
  const callers = new Set(definitions.map(nameOf));
  return {
    find: (name) => tools.get(name),
    isCallers: ({ name, toolset }) => toolset !== undefined || callers.has(name),
  };
}

function nameOf(definition: ToolUnion): string {
  if (!(definition instanceof RawJson)) return (definition as { name?: string }).name ?? "";
  return String(parseValid(members(definition.text).get("name") ?? '""'));
}

/**
 * A run whose budget was exhausted needs more of that.
 *
 * @throws {ParleyError} INVALID_REQUEST.
 */
export function checkMoreBudget({ run, budget }: RunRecord, more: Budget): void {
  const field = moreNeeded.get(run.exhaustedBudget);
  if (field === undefined || more[field.member] > budget[field.member]) return;
  throw invalidField(
    `additional_budget.${field.name}`,
    `must allow more: this budget of the run is used up, and the service's cap may leave no more`,
  );
}

const moreNeeded = new Map<BudgetKind, { readonly name: string; readonly member: keyof Budget }>([
  [BudgetKind.TURNS, { name: "max_turns", member: "turns" }],
  [BudgetKind.TOOL_CALLS, { name: "max_tool_calls", member: "toolCalls" }],
  [BudgetKind.OUTPUT_TOKENS, { name: "max_output_tokens", member: "outputTokens" }],
  [BudgetKind.COST, { name: "max_cost_micros_usd", member: "costMicrosUsd" }],
  [BudgetKind.DURATION, { name: "max_duration", member: "durationMs" }],
]);

/**
 * A caller's answer to an action. `field` is its path, for errors.
 *
 * @throws {ParleyError} INVALID_REQUEST.
 */
export function actionAnswer(message: ToolAnswer, field: string): ActionAnswer {
  const { toolUseId, answer } = message;
  const fingerprint = hash("sha256", toBinary(ToolAnswerSchema, message), "base64");
  if (answer.case === "approval") {
    const { approved, reason } = answer.value;
    return { field, toolUseId, fingerprint, answer: { kind: "decision", decision: { approved, reason } } };
  }
  if (answer.case !== "result") throw new TypeError("answer is required: the validation has let it pass");
  if (answer.value.toolUseId !== toolUseId) {
    throw invalidField(`${field}.result.tool_use_id`, "must be that of the answer");
  }
  const { text, content, isError } = answer.value;
  const result: ToolResultBlockParam = {
    type: "tool_result",
    tool_use_id: toolUseId,
    ...((content.length > 0 || text !== "") && { content: textOrBlocks(answer.value, `${field}.result`) as never }),
    ...(isError && { is_error: true }),
  };
  return { field, toolUseId, fingerprint, answer: { kind: "result", result } };
}
