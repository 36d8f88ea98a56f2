import { z } from "zod";

const MILLISECONDS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
const BYTES = { B: 1, KiB: 1_024, MiB: 1_048_576, GiB: 1_073_741_824 } as const;

/** A duration such as `500ms`, `30s`, `5m` or `1h`, in milliseconds. Both bounds are allowed values. */
export function duration(least: string, most: string) {
  const bounds = `a duration from ${least} to ${most}, for example ${least}`;
  return z
    .string(`must be ${bounds}`)
    .transform((text) => parse(text, MILLISECONDS))
    .refine((value) => value >= parse(least, MILLISECONDS) && value <= parse(most, MILLISECONDS), `must be ${bounds}`);
}

/** A size such as `64KiB` or `32MiB`, in bytes. Both bounds are allowed values. */
export function size(least: string, most: string) {
  const bounds = `a size from ${least} to ${most}, for example ${least}`;
  return z
    .string(`must be ${bounds}`)
    .transform((text) => parse(text, BYTES))
    .refine((value) => value >= parse(least, BYTES) && value <= parse(most, BYTES), `must be ${bounds}`);
}

/** A whole number. Both bounds are allowed values. */
export function count(least: number, most: number) {
  const bounds = `must be a whole number from ${least} to ${most}`;
  return z.int(bounds).min(least, bounds).max(most, bounds);
}

/** NaN when the text is no number with one of the units. */
function parse(text: string, units: Readonly<Record<string, number>>): number {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)([A-Za-z]+)$/.exec(text) ?? [];
  return Math.round(Number(number) * (units[unit] ?? Number.NaN));
}
