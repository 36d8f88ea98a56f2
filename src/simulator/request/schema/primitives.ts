import { z } from "zod";
import { problemsIn } from "./wording.ts";

/** How to go on with a value: the schema it must fit, with the name its alternative has in paths, or a problem. */
type Choice =
  | { readonly schema: z.ZodType; readonly tag?: string }
  | { readonly problem: string; readonly at?: readonly string[] };

/** A schema that depends on the value. Unlike a union it reports the problems of the alternative that was meant. */
export function byValue(choose: (value: unknown) => Choice): z.ZodType {
  return z.unknown().superRefine((value, context) => {
    const choice = value === undefined ? { problem: "Field required" } : choose(value);
    if ("problem" in choice) {
      context.addIssue({ code: "custom", message: choice.problem, path: [...(choice.at ?? [])] });
      return;
    }
    const prefix = choice.tag === undefined ? [] : [choice.tag];
    for (const { path, message } of problemsIn(choice.schema, value)) {
      context.addIssue({ code: "custom", message, path: [...prefix, ...path] });
    }
  });
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Alternatives told apart by their `type`. As in Claude's messages, the tag becomes a part of the path:
 * `messages.0.content.0.text.citations`.
 */
export function tagged<Tag extends string>(variants: Readonly<Record<Tag, z.ZodType>>, fallback?: Tag): z.ZodType {
  return byValue((value) => {
    if (!isObject(value)) return { problem: "Input should be an object" };
    const tag = value.type ?? fallback;
    if (tag === undefined) return { problem: "Field required", at: ["type"] };
    if (typeof tag === "string" && Object.hasOwn(variants, tag)) return { schema: variants[tag as Tag], tag };
    const expected = Object.keys(variants).map((name) => `'${name}'`);
    const problem = `Input tag '${String(tag)}' found using 'type' does not match any of the expected tags: ${expected.join(", ")}`;
    return { problem };
  });
}

/** A string, or what the schema says. */
export function stringOr(schema: z.ZodType): z.ZodType {
  return byValue((value) => ({ schema: typeof value === "string" ? z.string() : schema }));
}

/**
 * An object with exactly the members of one of the SDK's types: a member that a new SDK version adds or drops is a
 * compile error here, and a member that is not listed is refused.
 */
export function exact<T extends object>(shape: { readonly [K in keyof Required<T>]: z.ZodType }): z.ZodType {
  return z.strictObject(shape);
}

/** A JSON object with any members. */
export const anyObject = z.record(z.string(), z.unknown());
