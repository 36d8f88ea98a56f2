import { type DescField, type DescMessage, type DescOneof, getOption, hasOption } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import {
  type FieldRules,
  field as fieldOption,
  Ignore,
  type MessageRules,
  message as messageOption,
  oneof as oneofOption,
} from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

/** The protovalidate rules of a field. Undefined: none. */
export function rulesOf(field: DescField): FieldRules | undefined {
  return hasOption(field, fieldOption) ? inForce(getOption(field, fieldOption)) : undefined;
}

/** The rules themselves, unless they are to be ignored. */
export function inForce(rules: FieldRules | undefined): FieldRules | undefined {
  return rules?.ignore === Ignore.ALWAYS ? undefined : rules;
}

export function messageRulesOf(message: DescMessage): MessageRules | undefined {
  return hasOption(message, messageOption) ? getOption(message, messageOption) : undefined;
}

export function isRequiredOneof(oneof: DescOneof): boolean {
  return hasOption(oneof, oneofOption) && getOption(oneof, oneofOption).required;
}

/** Whether the zero value of a field is no value of it. */
export function excludesZero(field: DescField): boolean {
  const mayBeZero = field.fieldKind !== "list" && field.fieldKind !== "map" && field.presence !== IMPLICIT;
  return !mayBeZero && rulesOf(field)?.required === true;
}

/** Whether rules are for values other than zero only. */
export function ignoresZero(field: DescField): boolean {
  return rulesOf(field)?.ignore === Ignore.IF_ZERO_VALUE;
}

const { IMPLICIT } = FeatureSet_FieldPresence;

/** Whether a field that is absent is the same as one that has its zero value. */
export function isImplicit(field: DescField): boolean {
  return field.presence === IMPLICIT;
}

/** Longer expressions are not told. */
const MAX_EXPRESSION = 300;

/** What expressions demand, in the words of those who wrote them. */
export function expressionNotes(rules: Pick<FieldRules | MessageRules, "cel" | "celExpression"> | undefined): string[] {
  const told = (rules?.cel ?? []).map(({ message, expression }) => message || expressionText(expression));
  return [...told, ...(rules?.celExpression ?? []).map(expressionText)].filter((note) => note !== "");
}

function expressionText(expression: string): string {
  return expression.length > MAX_EXPRESSION ? "" : `Must satisfy: ${expression}`;
}

/** Rules for single values, which most kinds of values have. */
export interface ValueRules<T> {
  readonly const?: T;
  readonly in?: readonly T[];
  readonly notIn?: readonly T[];
  readonly example?: readonly T[];
}

/** Whether a rule is set. Rules that are not are on the prototype, with their default values. */
export function isSet<R extends object>(rules: R, name: keyof R): boolean {
  return Object.hasOwn(rules, name);
}
