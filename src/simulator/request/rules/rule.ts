import type { SimulatedModel } from "../../catalogue/model.ts";
import type { PromptRequest, Turn } from "../request.ts";

/** What a rule can look at. */
export interface RuleContext {
  readonly request: PromptRequest;
  readonly model: SimulatedModel;
  readonly turns: readonly Turn[];
}

/**
 * A rule that reaches over several members of a request. It throws an `ApiError` in Claude's words when the request
 * breaks it. Rules run in order and only on requests whose schema is right.
 */
export type Rule = (context: RuleContext) => void;
