import { ScalarType } from "@bufbuild/protobuf";
import { isSet, type ValueRules } from "./rules.ts";
import { type Dialect, type Schema, type SchemaValue, type Shape, schemaOf } from "./schema-tree.ts";

/** The rules that protovalidate has for each type of numbers. */
export interface NumberRules extends ValueRules<number | bigint> {
  readonly lessThan?: Bound<"lt" | "lte">;
  readonly greaterThan?: Bound<"gt" | "gte">;
}

interface Bound<C extends string> {
  readonly case: C | undefined;
  readonly value?: number | bigint;
}

/** Patterns of nearly all integers: the few that they leave out have as many digits as the greatest has. */
const INT32_PATTERN = "^(0|-?[1-9][0-9]{0,8}|-?1[0-9]{9})$";
const UINT32_PATTERN = "^(0|[1-9][0-9]{0,8}|[1-3][0-9]{9})$";
const INT64_PATTERN = "^(0|-?[1-9][0-9]{0,17}|-?[1-8][0-9]{18})$";
const UINT64_PATTERN = "^(0|[1-9][0-9]{0,18}|1[0-7][0-9]{18})$";

/** A pattern for an integer that is written as a string. */
export function integerPattern(scalar: ScalarType): string {
  switch (scalar) {
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return UINT64_PATTERN;
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return INT64_PATTERN;
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return UINT32_PATTERN;
    default:
      return INT32_PATTERN;
  }
}

const FLOAT_MAX = 3.4028234663852886e38;

/** The schema of a number. NaN and the infinities, which JSON can only hold as strings, are accepted but not offered. */
export function numberShape(
  scalar: ScalarType,
  rules: NumberRules | undefined,
  excludesZero: boolean,
  dialect: Dialect,
): Shape {
  const isUnsigned = integerPattern(scalar) === UINT32_PATTERN;
  switch (scalar) {
    case ScalarType.DOUBLE:
      return constrained(schemaOf({ type: "number" }), rules, excludesZero, Number);
    case ScalarType.FLOAT:
      return constrained(ranged("number", -FLOAT_MAX, FLOAT_MAX, dialect), rules, excludesZero, Number);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return longShape(scalar, rules, excludesZero, dialect);
    default: {
      const [low, high] = isUnsigned ? [0, 4294967295] : [-2147483648, 2147483647];
      return constrained(ranged("integer", low, high, dialect), rules, excludesZero, Number);
    }
  }
}

/** The range of a type is told where it is a keyword. In words it says little that Claude would not do anyway. */
function ranged(type: string, minimum: number, maximum: number, dialect: Dialect): Schema {
  return dialect === "tool"
    ? schemaOf({ type, minimum, maximum })
    : schemaOf({ type, minimum: minimum === 0 ? 0 : undefined });
}

/**
 * An integer of 64 bits: a string, as protobuf writes it, so that no reader of JSON rounds it. Claude's structured outputs
 * know no patterns, and so get an integer: `parseMessage` keeps it exact.
 */
function longShape(scalar: ScalarType, rules: NumberRules | undefined, excludesZero: boolean, dialect: Dialect): Shape {
  const pattern = integerPattern(scalar);
  if (dialect === "output") {
    const schema = schemaOf({ type: "integer", minimum: pattern === UINT64_PATTERN ? 0 : undefined });
    return constrained(schema, rules, excludesZero, (value) =>
      Number.isSafeInteger(Number(value)) ? Number(value) : NaN,
    );
  }
  const notes = ["An integer of 64 bits.", ...boundNotes(rules)];
  const shape: Shape = { schema: schemaOf({ type: "string", pattern }), notes };
  addValues(shape, rules, excludesZero, String);
  return shape;
}

const comparisons = { gt: "Greater than", gte: "At least", lt: "Less than", lte: "At most" };

/** The bounds of a number in words. */
export function boundNotes(rules: NumberRules | undefined): string[] {
  const notes: string[] = [];
  for (const bound of [rules?.greaterThan, rules?.lessThan]) {
    if (bound?.case !== undefined) notes.push(`${comparisons[bound.case]} ${bound.value}.`);
  }
  return notes;
}

function constrained(
  schema: Schema,
  rules: NumberRules | undefined,
  excludesZero: boolean,
  toJson: (value: number | bigint) => number,
): Shape {
  const shape: Shape = { schema, notes: [] };
  const low = boundOf(rules?.greaterThan, toJson);
  const high = boundOf(rules?.lessThan, toJson);
  // A lower bound above the upper one means what lies outside of them.
  if (low !== undefined && high !== undefined && low.value >= high.value && !isPoint(low, high)) {
    shape.notes.push(`Not from ${high.value} to ${low.value}, of which the ends may be allowed.`);
    if (schema.get("type") === "number" || schema.get("type") === "integer") {
      schema.set("anyOf", [limits(undefined, high), limits(low, undefined)]);
    }
  } else {
    if (low !== undefined) narrow(schema, low, "minimum", "exclusiveMinimum", Math.max);
    if (high !== undefined) narrow(schema, high, "maximum", "exclusiveMaximum", Math.min);
  }
  addValues(shape, rules, excludesZero, toJson);
  return shape;
}

interface Limit {
  readonly value: number;
  readonly isOpen: boolean;
}

function boundOf(bound: Bound<string> | undefined, toJson: (value: number | bigint) => number): Limit | undefined {
  if (bound?.case === undefined || bound.value === undefined) return undefined;
  const value = toJson(bound.value);
  return Number.isFinite(value) ? { value, isOpen: bound.case === "gt" || bound.case === "lt" } : undefined;
}

function isPoint(low: Limit, high: Limit): boolean {
  return low.value === high.value && !low.isOpen && !high.isOpen;
}

function limits(low: Limit | undefined, high: Limit | undefined): Schema {
  return schemaOf({
    ...(low !== undefined && { [low.isOpen ? "exclusiveMinimum" : "minimum"]: low.value }),
    ...(high !== undefined && { [high.isOpen ? "exclusiveMaximum" : "maximum"]: high.value }),
  });
}

function narrow(
  schema: Schema,
  limit: Limit,
  closed: string,
  open: string,
  tighter: (one: number, other: number) => number,
): void {
  const own = schema.get(closed);
  if (!limit.isOpen) schema.set(closed, typeof own === "number" ? tighter(own, limit.value) : limit.value);
  else {
    schema.set(open, limit.value);
    if (typeof own === "number" && tighter(own, limit.value) === limit.value) schema.delete(closed);
  }
}

/** Adds what rules say of single values. */
export function addValues<T>(
  shape: Shape,
  rules: ValueRules<T> | undefined,
  excludesZero: boolean,
  toJson: (value: T) => string | number,
): void {
  const { schema } = shape;
  // Members that JSON cannot hold, such as NaN, are left to the validation.
  const list = (values: readonly T[] = []) => values.map(toJson).filter(isJson);
  const zero: SchemaValue = schema.get("type") === "string" ? "0" : 0;
  const allowed = list(rules?.in).filter((value) => !(excludesZero && value === zero));
  const refused = list(rules?.notIn);
  if (rules !== undefined && isSet(rules, "const") && isJson(toJson(rules.const as T)))
    schema.set("const", toJson(rules.const as T));
  else if (allowed.length > 0) schema.set("enum", allowed);
  if (schema.has("const") || schema.has("enum")) {
    for (const keyword of ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern"])
      schema.delete(keyword);
  }
  const not = excludesZero ? [...refused, zero] : refused;
  if (not.length > 0 && !schema.has("const") && !schema.has("enum")) schema.set("not", schemaOf({ enum: not }));
  const examples = list(rules?.example);
  if (examples.length > 0) schema.set("examples", examples);
}

function isJson(value: string | number): boolean {
  return typeof value === "string" || Number.isFinite(value);
}
