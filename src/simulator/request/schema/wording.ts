import type { z } from "zod";

/** A way in which a value breaks its schema; the path is relative to the value. */
export interface Problem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** Every problem of a value, in the order of the schema, in the words that Claude's API uses. */
export function problemsIn(schema: z.ZodType, value: unknown): Problem[] {
  const result = schema.safeParse(value, { error: wording });
  if (result.success) return [];
  return result.error.issues.map((issue) => ({
    path: issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0] ?? ""] : issue.path,
    message: issue.message,
  }));
}

function wording(issue: z.core.$ZodRawIssue): string {
  if (issue.input === undefined) return "Field required";
  switch (issue.code) {
    case "invalid_type":
      return `Input should be ${TYPES[issue.expected] ?? "valid"}`;
    case "unrecognized_keys":
      return "Extra inputs are not permitted";
    case "invalid_value":
      return `Input should be ${alternatives(issue.values.map((value) => `'${String(value)}'`))}`;
    case "too_small":
      return size(issue.origin, "least", Number(issue.minimum));
    case "too_big":
      return size(issue.origin, "most", Number(issue.maximum));
    case "invalid_format":
      return `String should match pattern '${String(issue.pattern).replace(/^\/|\/[a-z]*$/g, "")}'`;
    default:
      return "Input is not valid";
  }
}

/** All numbers of the API are integers, which zod reports as `number` when they are no number at all. */
const TYPES: Readonly<Record<string, string>> = {
  string: "a valid string",
  number: "a valid integer",
  int: "a valid integer",
  boolean: "a valid boolean",
  array: "a valid array",
  object: "an object",
  record: "an object",
};

function size(origin: string, bound: "least" | "most", limit: number): string {
  if (origin === "string") return `String should have at ${bound} ${limit} character${limit === 1 ? "" : "s"}`;
  if (origin === "array") return `List should have at ${bound} ${limit} item${limit === 1 ? "" : "s"}`;
  return `Input should be ${bound === "least" ? "greater" : "less"} than or equal to ${limit}`;
}

/** `'a', 'b' or 'c'` */
export function alternatives(values: readonly string[]): string {
  return values.length < 2 ? values.join("") : `${values.slice(0, -1).join(", ")} or ${values.at(-1)}`;
}
