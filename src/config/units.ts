import { z } from "zod";

const MILLISECONDS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
const BYTES = { B: 1, KiB: 1_024, MiB: 1_048_576, GiB: 1_073_741_824 } as const;

/** A duration such as `500ms`, `30s`, `5m` or `1h`, in milliseconds. Both bounds are allowed values. */
export function duration(least: string, most: string) {
  return quantity(
    `must be a duration from ${least} to ${most}, such as 500ms, 30s, 5m or 1h`,
    least,
    most,
    MILLISECONDS,
  );
}

/** A size such as `64KiB` or `32MiB`, in bytes. Both bounds are allowed values. */
export function size(least: string, most: string) {
  return quantity(`must be a size from ${least} to ${most}, such as 64KiB or 32MiB`, least, most, BYTES);
}

function quantity(problem: string, least: string, most: string, units: Readonly<Record<string, number>>) {
  return z
    .string({ error: ({ input }) => `${problem}, but is ${JSON.stringify(input)}` })
    .refine((text) => parse(text, units) >= parse(least, units) && parse(text, units) <= parse(most, units), {
      error: ({ input }) => `${problem}, but is ${JSON.stringify(input)}`,
    })
    .transform((text) => parse(text, units));
}

/** A whole number. Both bounds are allowed values. */
export function count(least: number, most: number) {
  const error = ({ input }: { readonly input?: unknown }) =>
    `must be a whole number from ${least} to ${most}, but is ${JSON.stringify(input)}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
}

/** NaN when the text is no number with one of the units. */
function parse(text: string, units: Readonly<Record<string, number>>): number {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)([A-Za-z]+)$/.exec(text) ?? [];
  return Math.round(Number(number) * (units[unit] ?? Number.NaN));
}
