import type { DescEnum, DescEnumValue } from "@bufbuild/protobuf";
import type { EnumRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { commentOf } from "./comments.ts";
import { isSet } from "./rules.ts";
import { type Shape, schemaOf } from "./schema-tree.ts";

/** The comments of values are told of enums with at most so many. */
const MAX_COMMENTED = 100;

/** Whether all values of an enum are offered, so that all its fields can share one schema. */
export function offersAll(rules: EnumRules | undefined, excludesZero: boolean): boolean {
  return (
    !excludesZero && (rules === undefined || (!isSet(rules, "const") && rules.in.length + rules.notIn.length === 0))
  );
}

/** The schema of an enum: its values by their names. Of several names of a number the first is offered. */
export function enumShape(desc: DescEnum, rules: EnumRules | undefined, excludesZero: boolean): Shape {
  if (desc.typeName === "google.protobuf.NullValue") return { schema: schemaOf({ type: "null" }), notes: [] };
  const values = offered(desc, rules, excludesZero);
  const notes: string[] = [];
  if (values.length <= MAX_COMMENTED) {
    for (const value of values) {
      const comment = commentOf(value);
      if (comment !== "") notes.push(`${value.jsonName}: ${comment}`);
    }
  }
  return { schema: schemaOf({ type: "string", enum: values.map(({ jsonName }) => jsonName) }), notes };
}

function offered(desc: DescEnum, rules: EnumRules | undefined, excludesZero: boolean): DescEnumValue[] {
  const numbers = new Set<number>();
  return desc.values.filter(({ number }) => {
    if (numbers.has(number)) return false;
    numbers.add(number);
    if (number === 0 && excludesZero) return false;
    if (rules === undefined) return true;
    if (isSet(rules, "const")) return number === rules.const;
    return (rules.in.length === 0 || rules.in.includes(number)) && !rules.notIn.includes(number);
  });
}
