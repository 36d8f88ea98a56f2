import { resolvePointer } from "../request/rules/structured-outputs.ts";
import { isObject } from "../request/schema/primitives.ts";

/** From this depth on, only what a schema demands is generated, so that recursive schemas come to an end. */
const DEEP = 4;

/** Where a schema demands endless nesting, or endless values, generation gives up with `null`. */
const DEEPEST = 40;
const MOST_VALUES = 10_000;

/** Longest string that is generated, whatever a schema demands. UTF-16 code units. */
const LONGEST = 100_000;

/** How much of a string that must be long counts as one value. */
const UNITS_PER_VALUE = 10;

const FORMATS: Readonly<Record<string, string>> = {
  "date-time": "2026-01-02T03:04:05Z",
  date: "2026-01-02",
  time: "03:04:05Z",
  duration: "PT1H",
  uuid: "6f1c2b1e-0d3a-4c58-9b7e-2a4d5e6f7081",
  email: "ada@example.com",
  hostname: "example.com",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
  uri: "https://example.com/",
  "uri-reference": "/",
};

type Schema = Readonly<Record<string, unknown>>;

interface Place {
  readonly root: Record<string, unknown>;
  readonly depth: number;
  /** How many more values may be generated. */
  readonly budget: { left: number };
  /** Name of the property, which stands in for missing ideas about a text. */
  readonly name: string;
  /** 0 for the first of several equal items; others make values that differ. */
  readonly variant: number;
}

/** A value that fits a JSON schema, always the same for the same schema. `pattern` and `not` are not looked at. */
export function generateValue(schema: Record<string, unknown>): unknown {
  return generate(schema, { root: schema, depth: 0, budget: { left: MOST_VALUES }, name: "text", variant: 0 });
}

function generate(schema: unknown, place: Place): unknown {
  if (place.depth > DEEPEST || place.budget.left-- <= 0) return null;
  if (!isObject(schema)) return place.name;
  if (typeof schema.$ref === "string") {
    const { $ref: ref, ...rest } = schema;
    const target = resolvePointer(place.root, ref);
    return generate(isObject(target) ? merge(target, rest) : rest, { ...place, depth: place.depth + 1 });
  }
  if ("const" in schema) return schema.const;
  if (Array.isArray(schema.enum) && schema.enum.length > 0) return schema.enum[place.variant % schema.enum.length];
  if (place.variant === 0) {
    if ("default" in schema) return schema.default;
    if (Array.isArray(schema.examples) && schema.examples.length > 0) return schema.examples[0];
  }
  if (Array.isArray(schema.allOf)) {
    const { allOf, ...rest } = schema;
    const parts = allOf.filter(isObject).map((part) => dereference(part, place.root));
    return generate(parts.reduce<Schema>(merge, rest), { ...place, depth: place.depth + 1 });
  }
  const branches = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(branches) && branches.length > 0) {
    const { anyOf: _anyOf, oneOf: _oneOf, ...rest } = schema;
    return generate(merge(rest, pickBranch(branches, place)), { ...place, depth: place.depth + 1 });
  }
  return generateTyped(schema, place);
}

function dereference(schema: Schema, root: Record<string, unknown>): Schema {
  const target = typeof schema.$ref === "string" ? resolvePointer(root, schema.$ref) : undefined;
  return isObject(target) ? target : schema;
}

/** Both schemas at once, as `allOf` means it, for the keywords that generation looks at. */
function merge(left: Schema, right: Schema): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...left, ...right };
  if (isObject(left.properties) && isObject(right.properties)) {
    merged.properties = { ...left.properties, ...right.properties };
  }
  if (Array.isArray(left.required) && Array.isArray(right.required)) {
    merged.required = [...left.required, ...right.required];
  }
  return merged;
}

/** The first branch, or deep down the first that does not nest further. */
function pickBranch(branches: readonly unknown[], place: Place): Schema {
  const objects = branches.filter(isObject);
  const flat = objects.find((branch) => !("$ref" in branch) && branch.type !== "object" && branch.type !== "array");
  return (place.depth > DEEP ? flat : undefined) ?? objects[0] ?? {};
}

function generateTyped(schema: Record<string, unknown>, place: Place): unknown {
  switch (typeOf(schema)) {
    case "object":
      return generateObject(schema, place);
    case "array":
      return generateArray(schema, place);
    case "integer":
      return generateNumber(schema, place, 1);
    case "number":
      return generateNumber(schema, place, 0);
    case "boolean":
      return place.variant % 2 === 0;
    case "null":
      return null;
    default:
      return generateString(schema, place);
  }
}

function typeOf(schema: Schema): unknown {
  if (Array.isArray(schema.type)) return schema.type.find((type) => type !== "null") ?? "null";
  if (schema.type !== undefined) return schema.type;
  if ("properties" in schema || "required" in schema) return "object";
  return "items" in schema || "prefixItems" in schema ? "array" : "string";
}

function generateObject(schema: Schema, place: Place): Record<string, unknown> {
  const properties = isObject(schema.properties) ? schema.properties : {};
  const required = Array.isArray(schema.required) ? schema.required.map(String) : [];
  const names = new Set(required.length > 0 || place.depth >= DEEP ? required : Object.keys(properties));
  const members = [...names].map((name) => {
    const property = Object.hasOwn(properties, name) ? properties[name] : schema.additionalProperties;
    return [name, generate(property, { ...place, depth: place.depth + 1, name })];
  });
  return Object.fromEntries(members);
}

function generateArray(schema: Schema, place: Place): unknown[] {
  const prefix = Array.isArray(schema.prefixItems) ? schema.prefixItems : [];
  const wanted = place.depth >= DEEP || (prefix.length > 0 && schema.items === undefined) ? 0 : 1;
  const least = Math.max(numberOr(schema.minItems, 0), prefix.length, wanted);
  const length = Math.min(least, numberOr(schema.maxItems, Number.POSITIVE_INFINITY), place.budget.left);
  return Array.from({ length }, (_, index) =>
    generate(prefix[index] ?? schema.items, { ...place, depth: place.depth + 1, variant: index }),
  );
}

function generateNumber(schema: Schema, { variant }: Place, grain: 0 | 1): number {
  const exclusiveLow = numberOr(schema.exclusiveMinimum, Number.NEGATIVE_INFINITY);
  const exclusiveHigh = numberOr(schema.exclusiveMaximum, Number.POSITIVE_INFINITY);
  const gap = grain || openGap(schema);
  const low = Math.max(numberOr(schema.minimum, Number.NEGATIVE_INFINITY), exclusiveLow + gap);
  const high = Math.min(numberOr(schema.maximum, Number.POSITIVE_INFINITY), exclusiveHigh - gap);
  const step = numberOr(schema.multipleOf, grain);
  const start = Math.min(Math.max(1, low), high);
  const aligned = step > 0 ? alignTo(step, start, high) : start;
  const next = aligned + variant * (step || 1);
  return next <= high ? next : aligned;
}

/** A multiple of `step` from `start` on, or below it when there is none up to `high`. */
function alignTo(step: number, start: number, high: number): number {
  const above = Math.ceil(start / step) * step;
  return above <= high ? above : Math.floor(high / step) * step;
}

/** A distance that keeps a number inside exclusive bounds. */
function openGap(schema: Schema): number {
  const low = numberOr(schema.exclusiveMinimum, Number.NEGATIVE_INFINITY);
  const high = numberOr(schema.exclusiveMaximum, Number.POSITIVE_INFINITY);
  return Number.isFinite(high - low) ? Math.min(1, (high - low) / 4) : 1;
}

function generateString(schema: Schema, { name, variant, budget }: Place): string {
  const format = typeof schema.format === "string" ? FORMATS[schema.format] : undefined;
  if (format !== undefined) return format;
  const text = variant === 0 ? name : `${name} ${variant + 1}`;
  const least = Math.min(numberOr(schema.minLength, 0), LONGEST);
  budget.left -= least / UNITS_PER_VALUE;
  return text.padEnd(least, ".").slice(0, numberOr(schema.maxLength, LONGEST));
}

function numberOr(value: unknown, fallback: number): number {
  return typeof value === "number" ? value : fallback;
}
