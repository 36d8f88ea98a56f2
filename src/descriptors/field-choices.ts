import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { propertyName } from "./property-name.ts";
import { isRequiredOneof, messageRulesOf } from "./rules.ts";
import { type Schema, schemaOf } from "./schema-tree.ts";

/** Fields of a message of which at most one may be set: a oneof, or a rule of protovalidate's that says the same. */
export interface Choice {
  readonly fields: readonly DescField[];
  readonly isRequired: boolean;
  /** Whether a zero value does not count as set. */
  readonly isNonZero: boolean;
}

export function choicesOf(desc: DescMessage): readonly Choice[] {
  const oneofs = desc.oneofs.map((oneof) => ({
    fields: oneof.fields,
    isRequired: isRequiredOneof(oneof),
    isNonZero: false,
  }));
  const rules = (messageRulesOf(desc)?.oneof ?? []).map(({ fields, required }) => ({
    fields: desc.fields.filter(({ name }) => fields.includes(name)),
    isRequired: required,
    isNonZero: true,
  }));
  return [...oneofs, ...rules].filter(({ fields, isRequired }) => fields.length > 1 || isRequired);
}

export function choiceNotes(choices: readonly Choice[]): string[] {
  return choices.map(({ fields, isRequired }) => {
    const names = fields.map(propertyName).join(", ");
    return `${isRequired ? "Exactly one of these must" : "At most one of these may"} be set: ${names}.`;
  });
}

/** The choices as a member of a JSON schema. Undefined: there is none. */
export function choiceRule(choices: readonly Choice[]): { keyword: string; value: Schema[] } | undefined {
  const rules = choices.map(({ fields, isRequired }) => {
    const ways = fields.map((field) => schemaOf({ required: [propertyName(field)] }));
    return isRequired ? ways : [...ways, schemaOf({ not: schemaOf({ anyOf: ways }) })];
  });
  const [first, ...others] = rules;
  if (first === undefined) return undefined;
  return others.length === 0
    ? { keyword: "oneOf", value: first }
    : { keyword: "allOf", value: rules.map((oneOf) => schemaOf({ oneOf })) };
}

/** More than that are told in words only. */
const MAX_COMBINATIONS = 16;
const MAX_REPEATED_FIELDS = 256;

/** The ways to choose: each a set of fields that stand beside those that are in no choice. One: there is no choice. */
export function combinations(choices: readonly Choice[], fieldCount: number): readonly ReadonlySet<DescField>[] {
  const none: ReadonlySet<DescField> = new Set();
  const all = choices.flatMap(({ fields }) => fields);
  // A field in two choices cannot be chosen in one of them alone.
  if (new Set(all).size < all.length) return [none];
  let ways: ReadonlySet<DescField>[] = [none];
  for (const { fields, isRequired } of choices) {
    const members = isRequired ? fields : [...fields, undefined];
    if (ways.length * members.length > MAX_COMBINATIONS) return [none];
    ways = ways.flatMap((way) => members.map((field) => (field === undefined ? way : new Set([...way, field]))));
  }
  return ways.length * fieldCount > MAX_REPEATED_FIELDS ? [none] : ways;
}
