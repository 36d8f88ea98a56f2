import { membersOfValid } from "../upstream/raw-json.ts";

/** What a model costs, in US dollars for a million tokens. */
export interface ModelPrice {
  /** The day that it holds from, from midnight in UTC until the next one does: `2026-10-01`. Unset: it has always held. */
  readonly from?: string | undefined;
  readonly input: number;
  readonly output: number;
  /** Unset: a tenth of `input`. */
  readonly cacheRead?: number | undefined;
  /** Written with a lifetime of 5 minutes. Unset: 1.25 times `input`. */
  readonly cacheWrite5m?: number | undefined;
  /** Written with a lifetime of 1 hour. Unset: twice `input`. */
  readonly cacheWrite1h?: number | undefined;
}

/** What dated names have after the name of the model: `-20260901`. */
const DATE = /-\d{8}$/;

/**
 * A price in dollars for a million tokens is one in millionths of a dollar for a token. It is counted in whole millionths
 * of those: sums of fractions such as 0.1 come out a little above what they are, and would be rounded up.
 */
const UNITS_PER_MICRO = 1_000_000;

/**
 * What models cost, at the price that is in force when this is asked. Only tokens have a price here: searches of the web,
 * and what Claude takes on top for speed or a region, are not in the cost.
 */
export class PriceTable {
  readonly #prices: ReadonlyMap<string, readonly Units[]>;
  readonly #now: () => number;

  /**
   * @param prices by the names of models. Those of one model are in any order, and from different days.
   * @param now milliseconds since 1970, as `Date.now()` has them.
   */
  constructor(prices: Readonly<Record<string, ModelPrice | readonly ModelPrice[]>>, now: () => number = Date.now) {
    this.#prices = new Map(Object.entries(prices).map(([model, ofModel]) => [model, latestFirst(ofModel)]));
    this.#now = now;
  }

  /** The models that are in the table, by their names: also those whose price is yet to come. */
  get models(): Iterable<string> {
    return this.#prices.keys();
  }

  /**
   * What an answer has cost, in whole millionths of a US dollar, rounded up.
   *
   * @param usage members of Claude's usage: the exact JSON text of each.
   * @returns undefined when the model has no price that is in force; Infinity when the usage has numbers that are none of
   * tokens: a budget must hold also then.
   */
  costMicrosUsd(model: string, usage: ReadonlyMap<string, string>): number | undefined {
    const price = this.#priceOf(model);
    if (price === undefined) return undefined;
    const split = usage.get("cache_creation") ?? "";
    const written = split.startsWith("{") ? membersOfValid(split) : new Map<string, string>();
    const told5m = tokens(written, "ephemeral_5m_input_tokens");
    const written1h = tokens(written, "ephemeral_1h_input_tokens");
    const writtenInAll = tokens(usage, "cache_creation_input_tokens");
    const input = tokens(usage, "input_tokens");
    const output = tokens(usage, "output_tokens");
    const read = tokens(usage, "cache_read_input_tokens");
    if (!Number.isFinite(input + output + read + writtenInAll + told5m + written1h)) return Number.POSITIVE_INFINITY;
    // What is not told to be written for an hour is not: 5 minutes are the default.
    const written5m = Math.max(told5m, writtenInAll - written1h);
    const units =
      input * price.input +
      output * price.output +
      read * price.cacheRead +
      written5m * price.cacheWrite5m +
      written1h * price.cacheWrite1h;
    return Math.ceil(units / UNITS_PER_MICRO);
  }

  /** How many output tokens so much money buys. Infinity when they cost nothing, undefined when they have no price. */
  outputTokensFor(model: string, microsUsd: number): number | undefined {
    const price = this.#priceOf(model);
    if (price === undefined) return undefined;
    return price.output === 0 ? Number.POSITIVE_INFINITY : Math.floor((microsUsd * UNITS_PER_MICRO) / price.output);
  }

  /**
   * The price of a model by its name, or by its name without the date: Claude may answer to the one with the other. Until
   * the one with the date has a price of its own, it has that of the other.
   */
  #priceOf(model: string): Units | undefined {
    const now = this.#now();
    return inForce(this.#prices.get(model), now) ?? inForce(this.#prices.get(model.replace(DATE, "")), now);
  }
}

/** A price with nothing left open, in units for a token, `from` a time in milliseconds since 1970. */
type Units = Readonly<Record<keyof ModelPrice, number>>;

function latestFirst(prices: ModelPrice | readonly ModelPrice[]): readonly Units[] {
  const units = [prices].flat().map(inUnits);
  return units.sort((one, other) => other.from - one.from);
}

function inForce(latestFirst: readonly Units[] | undefined, now: number): Units | undefined {
  if (latestFirst === undefined) return undefined;
  for (const price of latestFirst) if (price.from <= now) return price;
  return undefined;
}

function inUnits({ from, input, output, cacheRead, cacheWrite5m, cacheWrite1h }: ModelPrice): Units {
  const units = (price: number) => Math.round(price * UNITS_PER_MICRO);
  return {
    from: from === undefined ? Number.NEGATIVE_INFINITY : Date.parse(from),
    input: units(input),
    output: units(output),
    cacheRead: units(cacheRead ?? input * 0.1),
    cacheWrite5m: units(cacheWrite5m ?? input * 1.25),
    cacheWrite1h: units(cacheWrite1h ?? input * 2),
  };
}

/** What tokens are counted in, by the proto: a 32-bit integer. */
const MAX_TOKENS = 2_147_483_647;

/** A number of tokens. One that is not told is 0, and what is no such number Infinity. */
function tokens(usage: ReadonlyMap<string, string>, name: string): number {
  const text = usage.get(name) ?? "null";
  const value = text === "null" ? 0 : Number(text);
  return Number.isInteger(value) && value >= 0 && value <= MAX_TOKENS ? value : Number.POSITIVE_INFINITY;
}
