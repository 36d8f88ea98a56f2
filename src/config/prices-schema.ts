import { z } from "zod";
import { sectionError } from "./sections.ts";

const usdPerMillion = z.number("must be a number").min(0, "must not be below 0");

const price = z.strictObject(
  {
    /** Each in US dollars for a million tokens. */
    input: usdPerMillion,
    output: usdPerMillion,
    /** Unset: a tenth of `input`. */
    cacheRead: usdPerMillion.optional(),
    /** Written with a lifetime of 5 minutes. Unset: 1.25 times `input`. */
    cacheWrite5m: usdPerMillion.optional(),
    /** Written with a lifetime of 1 hour. Unset: twice `input`. */
    cacheWrite1h: usdPerMillion.optional(),
  },
  { error: sectionError },
);

/** What models cost, by their names. A model that is not here has no price, which is never taken for a price of nothing. */
export const pricesSchema = z
  .record(z.string(), price, "must be a mapping of models to prices")
  .nullable()
  .transform((prices) => prices ?? {})
  .default({});

export type PriceConfig = z.output<typeof price>;
