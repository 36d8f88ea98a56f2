import fc from "fast-check";
import { elements, members, restoreRawJson } from "../../src/upstream/raw-json.ts";

/** `JSON.stringify` for a value that may hold RawJson values. */
export function stringifyExact(value: unknown): string {
  return restoreRawJson(JSON.stringify(value));
}

/** JSON texts that `JSON.parse` and `JSON.stringify` would change: numbers, key orders, escapes, white space. */
const stubbornTexts = [
  "12345678901234567890",
  "1.0",
  "1e2",
  "-0",
  '{"10":1,"2":2,"1":3}',
  '"\\u0041\\ud83d\\ude00\\/"',
  '{ "a" : [ 1 ,2 ] , "b":{ } }',
  "[ ]",
  '"\\u2028"',
];

/** Any JSON text. */
export const jsonText: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.json({ maxDepth: 3 }) },
  { weight: 1, arbitrary: fc.constantFrom(...stubbornTexts) },
);

/** The JSON text of any object. */
export const objectJsonText: fc.Arbitrary<string> = fc.dictionary(memberName(), jsonText, { maxKeys: 4 }).map(
  (object) =>
    `{${Object.entries(object)
      .map(([name, text]) => `${JSON.stringify(name)}: ${text}`)
      .join(" ,")}}`,
);

function memberName(): fc.Arbitrary<string> {
  return fc.oneof(fc.string({ minLength: 1, maxLength: 6 }), fc.constantFrom("10", "2", "__proto__", "constructor"));
}

/**
 * What a JSON text says, in a form that can be compared: members that are null are left out, and all but strings is
 * compared by its exact text.
 */
export function meaning(text: string): unknown {
  const trimmed = text.trim();
  if (trimmed.startsWith("[")) return elements(trimmed).map(meaning);
  if (trimmed.startsWith('"')) return { string: JSON.parse(trimmed) as string };
  if (!trimmed.startsWith("{")) return { exact: trimmed };
  return new Map(
    [...members(trimmed)].filter(([, value]) => value !== "null").map(([name, value]) => [name, meaning(value)]),
  );
}
