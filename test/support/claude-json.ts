import fc from "fast-check";

/** Members of a JSON object: exact texts, `undefined` for members that are left out. */
export type Shape = Record<string, fc.Arbitrary<string | undefined>>;

export const text = fc.string({ unit: "grapheme" }).map((value) => JSON.stringify(value));
export const int = fc.nat().map(String);
export const nullable = <T extends string | undefined>(value: fc.Arbitrary<T>) => fc.oneof(value, fc.constant("null"));
export const optional = (value: fc.Arbitrary<string | undefined>) => fc.oneof(value, fc.constant(undefined));
export const list = (value: fc.Arbitrary<string>, minLength = 0) =>
  fc.array(value, { minLength, maxLength: 3 }).map((items) => `[${items.join(",")}]`);
export const literal = (value: string) => fc.constant(JSON.stringify(value));

export function object(shape: Shape): fc.Arbitrary<string> {
  return fc.record(shape).map((members) => {
    const set = Object.entries(members).filter(([, value]) => value !== undefined);
    return `{${set.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
  });
}
