import { z } from "zod";
import { sectionError } from "./sections.ts";

const usdPerMillion = z.number("must be a number").min(0, "must not be below 0");

const price = z.strictObject(
  {
    /** The day that it holds from, from midnight in UTC until the next one does. Unset: it has always held. */
    from: z.iso
      .date({ error: ({ input }) => `must be a date such as 2026-10-01, but is ${JSON.stringify(input)}` })
      .optional(),
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

const datedPrices = z.array(price).min(1, "must not be empty").superRefine(uniqueDates);

/** One price, or a list of them in any order. A union would tell of neither what is wrong with it. */
const ofModel = z.unknown().transform((value, context) => {
  const result = Array.isArray(value) ? datedPrices.safeParse(value) : price.safeParse(value);
  if (result.success) return result.data;
  context.issues.push(...(result.error.issues as z.core.$ZodRawIssue[]));
  return z.NEVER;
});

/** What models cost, by their names. A model that is not here has no price, which is never taken for a price of nothing. */
export const pricesSchema = z
  .record(z.string(), ofModel, "must be a mapping of models to prices")
  .nullable()
  .transform((prices) => prices ?? {})
  .default({});

export type PriceConfig = z.output<typeof price>;

function uniqueDates(prices: readonly { readonly from?: string | undefined }[], context: z.RefinementCtx): void {
  for (const [index, { from }] of prices.entries()) {
    if (prices.findIndex((price) => price.from === from) === index) continue;
    const message =
      from === undefined ? "must be set in all prices but one" : `must be unique, but ${from} is there twice`;
    context.addIssue({ code: "custom", path: [index, "from"], message });
  }
}
