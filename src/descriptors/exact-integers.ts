import { type DescField, type DescMessage, type JsonValue, type Registry, ScalarType } from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";
import { messageInAny } from "./any-json.ts";

/** An integer that a JavaScript number cannot hold has at least this many digits. */
const LONG = /\d{16}/;

/** An integer of the text that is not exact as a number. */
class LongInteger {
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }
}

/**
 * Parses the JSON text of a message. Numbers for 64-bit fields become strings where they would not be exact: protobuf's
 * JSON mapping takes both, but `JSON.parse` alone would round the number silently.
 *
 * @throws {SyntaxError} when the text is no JSON.
 */
export function parseExactly(text: string, desc: DescMessage, registry: Registry): JsonValue {
  const value = JSON.parse(text) as JsonValue;
  if (!LONG.test(text)) return value;
  return restore(parseLong(text), desc, registry) as JsonValue;
}

type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;

function parseLong(text: string): unknown {
  const revive: Reviver = (_, value, { source = "" }) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source)
      ? new LongInteger(source)
      : value;
  return JSON.parse(text, revive as (key: string, value: unknown) => unknown);
}

/** What a value stands for. Undefined: JSON that has no type. */
type Meaning = DescMessage | ScalarType | { readonly valuesOf: DescField } | undefined;

function restore(value: unknown, meaning: Meaning, registry: Registry): unknown {
  if (value instanceof LongInteger) return isLong(meaning) ? value.source : Number(value.source);
  if (Array.isArray(value)) return value.map((item) => restore(item, meaning, registry));
  if (typeof value !== "object" || value === null) return value;
  const own =
    isMessage(meaning) && meaning.typeName === "google.protobuf.Any" ? messageInAny(value, registry) : meaning;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key, restore(member, meaningOfMember(own, key), registry)]),
  );
}

function meaningOfMember(meaning: Meaning, key: string): Meaning {
  if (meaning === undefined || typeof meaning === "number") return undefined;
  if ("valuesOf" in meaning) return meaningOfValue(meaning.valuesOf);
  const field = meaning.fields.find(({ jsonName, name }) => jsonName === key || name === key);
  if (field === undefined) return undefined;
  return field.fieldKind === "map" ? { valuesOf: field } : meaningOfValue(field);
}

/** What a value, an item or an entry of a field stands for. */
function meaningOfValue(field: DescField): Meaning {
  if (field.scalar !== undefined) return field.scalar;
  return field.message;
}

function isMessage(meaning: Meaning): meaning is DescMessage {
  return typeof meaning === "object" && "typeName" in meaning;
}

const long = new Set<ScalarType | undefined>([
  ScalarType.INT64,
  ScalarType.UINT64,
  ScalarType.SINT64,
  ScalarType.FIXED64,
  ScalarType.SFIXED64,
]);

function isLong(meaning: Meaning): boolean {
  if (isMessage(meaning)) return isWrapperDesc(meaning) && long.has(meaning.fields[0]?.scalar);
  return typeof meaning === "number" && long.has(meaning);
}
