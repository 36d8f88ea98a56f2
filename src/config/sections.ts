import { z } from "zod";

/** A text that is not empty. */
export const text = z
  .string({ error: ({ input }) => (input === undefined ? "must be set" : "must be a text") })
  .min(1, "must not be empty");
/** Such texts. */
export const texts = z.array(text, "must be a list of texts");

/** An object with a fixed set of members, all of which have defaults. Empty, it is `null` in YAML. */
export function section<S extends z.ZodRawShape>(shape: S) {
  return z.preprocess((value) => value ?? {}, z.strictObject(shape, { error: sectionError }));
}

/** What is wrong with what is no section. */
export const sectionError: z.core.$ZodErrorMap = (issue) =>
  issue.code === "unrecognized_keys" ? undefined : "must be a mapping of names to values";
