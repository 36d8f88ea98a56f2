import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import type { PriceTable } from "../agent/prices.ts";
import { TurnProgress } from "../agent/turn.ts";
import { usageOf } from "./convert/response.ts";

/** How far the turn of a call has come, and what it has used. */
export class ChatTurn extends TurnProgress {
  readonly #prices: PriceTable;

  constructor(prices: PriceTable) {
    super();
    this.#prices = prices;
  }

  /** What the answer has used so far. Undefined: it has not begun. */
  get usage(): Usage | undefined {
    return this.answer.begun ? usageOf(this.answer, this.#prices) : undefined;
  }
}
