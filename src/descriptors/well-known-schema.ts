import type { DescMessage } from "@bufbuild/protobuf";
import { toJson } from "@bufbuild/protobuf";
import { DurationSchema, isWrapperDesc, TimestampSchema } from "@bufbuild/protobuf/wkt";
import type { FieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { isSet } from "./rules.ts";
import { scalarShape } from "./scalar-schema.ts";
import { type Dialect, type Shape, ShapeError, schemaOf } from "./schema-tree.ts";

/** Up to 99999999999 seconds: the most that a Duration may have is 315576000000. */
const DURATION_PATTERN = "^-?[0-9]{1,11}(\\.[0-9]{1,9})?s$";

/**
 * The schema of a message of Google's whose JSON is not an object of its fields.
 *
 * @throws {ShapeError} when the dialect cannot hold it.
 */
export function wellKnownShape(
  desc: DescMessage,
  rules: FieldRules | undefined,
  dialect: Dialect,
  path: string,
): Shape {
  const [value] = desc.fields;
  if (isWrapperDesc(desc) && value?.scalar !== undefined) return scalarShape(value.scalar, rules, false, dialect);
  const name = desc.typeName.replace("google.protobuf.", "");
  switch (name) {
    case "Timestamp":
      return { schema: schemaOf({ type: "string", format: "date-time" }), notes: timeNotes(rules) };
    case "Duration":
      return {
        schema: schemaOf({ type: "string", pattern: DURATION_PATTERN }),
        notes: ['A length of time in seconds, such as "3.5s".', ...durationNotes(rules)],
      };
    case "FieldMask":
      return {
        schema: schemaOf({ type: "string", pattern: "^([a-z][a-zA-Z0-9]*([.,][a-z][a-zA-Z0-9]*)*)?$" }),
        notes: [
          'Paths of fields in lowerCamelCase, separated by commas, such as "user.displayName,photo".',
          ...maskNotes(rules),
        ],
      };
  }
  if (dialect === "output") {
    throw new ShapeError(path, `a ${desc.typeName} can hold anything, which structured outputs cannot express`);
  }
  switch (name) {
    case "Struct":
      return { schema: schemaOf({ type: "object" }), notes: ["Any JSON object."] };
    case "ListValue":
      return { schema: schemaOf({ type: "array" }), notes: ["Any JSON array."] };
    case "Value":
      return { schema: schemaOf({}), notes: ["Any JSON value."] };
    default:
      return anyShape(rules);
  }
}

function anyShape(rules: FieldRules | undefined): Shape {
  const { in: allowed = [], notIn = [] } = rules?.type.case === "any" ? rules.type.value : {};
  const type = schemaOf({
    type: "string",
    enum: allowed.length > 0 ? allowed : undefined,
    not: notIn.length > 0 ? schemaOf({ enum: notIn }) : undefined,
    description: 'The type of the message, such as "type.googleapis.com/google.protobuf.Duration".',
  });
  return {
    schema: schemaOf({ type: "object", properties: schemaOf({ "@type": type }), required: ["@type"] }),
    notes: ['A message of any type: its fields beside "@type". One that is no object in JSON is the member "value".'],
  };
}

const words = { gt: "After", gte: "Not before", lt: "Before", lte: "Not after" } as const;

function timeNotes(rules: FieldRules | undefined): string[] {
  if (rules?.type.case !== "timestamp") return [];
  const { value } = rules.type;
  const notes: string[] = [];
  for (const bound of [value.greaterThan, value.lessThan]) {
    if (bound.case === "gtNow") notes.push("In the future.");
    else if (bound.case === "ltNow") notes.push("In the past.");
    else if (bound.case !== undefined) notes.push(`${words[bound.case]} ${toJson(TimestampSchema, bound.value)}.`);
  }
  if (isSet(value, "const") && value.const) notes.push(`Always ${toJson(TimestampSchema, value.const)}.`);
  if (isSet(value, "within") && value.within) notes.push(`Within ${toJson(DurationSchema, value.within)} of now.`);
  return notes;
}

function durationNotes(rules: FieldRules | undefined): string[] {
  if (rules?.type.case !== "duration") return [];
  const { value } = rules.type;
  const notes: string[] = [];
  const comparisons = { gt: "More than", gte: "At least", lt: "Less than", lte: "At most" };
  for (const bound of [value.greaterThan, value.lessThan]) {
    if (bound.case !== undefined) notes.push(`${comparisons[bound.case]} ${toJson(DurationSchema, bound.value)}.`);
  }
  const list = (durations: typeof value.in) => durations.map((one) => toJson(DurationSchema, one)).join(", ");
  if (isSet(value, "const") && value.const) notes.push(`Always ${toJson(DurationSchema, value.const)}.`);
  if (value.in.length > 0) notes.push(`One of ${list(value.in)}.`);
  if (value.notIn.length > 0) notes.push(`None of ${list(value.notIn)}.`);
  return notes;
}

function maskNotes(rules: FieldRules | undefined): string[] {
  if (rules?.type.case !== "fieldMask") return [];
  const { value } = rules.type;
  const notes: string[] = [];
  if (isSet(value, "const") && value.const) notes.push(`Always ${value.const.paths.join(",")}.`);
  if (value.in.length > 0) notes.push(`Only paths in ${value.in.join(", ")}.`);
  if (value.notIn.length > 0) notes.push(`No paths in ${value.notIn.join(", ")}.`);
  return notes;
}
