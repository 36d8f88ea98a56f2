import { type DescEnum, type DescField, type DescMessage, type JsonValue, ScalarType } from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";

/** The value itself is not told: it may be private. Its type is, where that is what is wrong. */
export function mustBe(expected: string, json: JsonValue): string {
  const type = json === null ? "null" : Array.isArray(json) ? "an array" : (typeNames[typeof json] ?? "");
  const isRightType =
    expected.includes(type.replace(/^an? /, "")) ||
    (type === "a number" && expected.startsWith("an integer")) ||
    (type === "a string" && expected.startsWith("one of"));
  return isRightType ? `must be ${expected}` : `must be ${expected}, but is ${type}`;
}

const typeNames: Record<string, string> = {
  string: "a string",
  number: "a number",
  boolean: "a boolean",
  object: "an object",
};

export function unknownField(desc: DescMessage): string {
  return desc.fields.length === 0
    ? "is unknown: there are no fields here"
    : `is unknown: the fields here are ${names(desc.fields)}`;
}

const MAX_NAMES = 20;

export function names(fields: readonly DescField[]): string {
  const told = fields.slice(0, MAX_NAMES).map(({ jsonName }) => jsonName);
  return `${told.join(", ")}${fields.length > MAX_NAMES ? ", …" : ""}`;
}

export function enumText({ values }: DescEnum): string {
  const told = values.slice(0, MAX_NAMES).map(({ jsonName }) => jsonName);
  return `one of ${told.join(", ")}${values.length > MAX_NAMES ? ", …" : ""}`;
}

const messageTexts: Record<string, string> = {
  Any: 'an object with "@type"',
  Timestamp: "a string with a time in RFC 3339, such as 2026-01-31T09:30:00Z",
  Duration: "a string with seconds, such as 3.5s",
  FieldMask: "a string with paths in lowerCamelCase, separated by commas",
  Struct: "an object",
  Value: "a JSON value that is not nested too deeply",
  ListValue: "an array",
};

export function messageText(desc: DescMessage): string {
  const [value] = desc.fields;
  if (isWrapperDesc(desc) && value?.scalar !== undefined) return scalarText(value.scalar);
  return messageTexts[desc.typeName.replace("google.protobuf.", "")] ?? "an object";
}

export function scalarText(scalar: ScalarType): string {
  switch (scalar) {
    case ScalarType.STRING:
      return "a string";
    case ScalarType.BOOL:
      return "a boolean";
    case ScalarType.BYTES:
      return "a string in base64";
    case ScalarType.DOUBLE:
      return "a number";
    case ScalarType.FLOAT:
      return "a number that fits into 32 bits";
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return "an integer of 64 bits, as a string or a number";
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return "an integer of 64 bits that is not negative, as a string or a number";
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return "an integer from 0 to 4294967295";
    default:
      return "an integer from -2147483648 to 2147483647";
  }
}
