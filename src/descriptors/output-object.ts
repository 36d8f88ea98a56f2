import type { DescField } from "@bufbuild/protobuf";
import type { Choice } from "./field-choices.ts";
import type { OptionalFields } from "./output-dialect.ts";
import { propertyName } from "./property-name.ts";
import { ignoresZero, isImplicit } from "./rules.ts";
import { described, type Schema, type Shape, ShapeError, schemaOf } from "./schema-tree.ts";

/** What an object of structured outputs is made of. */
interface ObjectParts {
  /** All fields of the message, in their order. */
  readonly fields: ReadonlyMap<DescField, Shape>;
  /** The ways to choose among its fields: one schema each. */
  readonly variants: readonly ReadonlySet<DescField>[];
  readonly choices: readonly Choice[];
  /** Fields whose absence breaks a rule. */
  readonly demanded: ReadonlySet<DescField>;
  readonly notes: readonly string[];
  readonly optional: OptionalFields;
  readonly path: string;
}

/**
 * The schema of an object for structured outputs: as few fields as possible may be left out, and of a oneof each way is a
 * schema of its own, so that Claude cannot take two.
 *
 * @throws {ShapeError} when too many fields may be left out.
 */
export function outputObject({ fields, variants, choices, demanded, notes, optional, path }: ObjectParts): Shape {
  const chosen = new Set(variants.length > 1 ? choices.flatMap((choice) => choice.fields) : []);
  const properties = new Map<DescField, Schema>();
  const required = new Set<DescField>();
  const moved: string[] = [];
  for (const [field, { schema, notes: fieldNotes }] of fields) {
    // A reference can have no description: the message that it is in tells it.
    const isReference = schema.has("$ref");
    if (isReference && fieldNotes.length > 0) moved.push(`${propertyName(field)}: ${fieldNotes.join("\n")}`);
    const told = isReference ? schema : described({ schema, notes: fieldNotes });
    properties.set(field, told);
    if (chosen.has(field) || demanded.has(field) || isAlwaysThere(field, choices)) {
      required.add(field);
      continue;
    }
    const way = optional.take(variants.length);
    if (way === undefined) {
      throw new ShapeError(path === "" ? field.name : `${path}.${field.name}`, "too many fields may be left out");
    }
    if (way === "null") {
      properties.set(field, schemaOf({ anyOf: [told, schemaOf({ type: "null" })] }));
      required.add(field);
    }
  }
  const schemas = variants.map((some) => {
    const there = [...properties].filter(([field]) => some.has(field) || !chosen.has(field));
    return schemaOf({
      type: "object",
      properties: new Map(there.map(([field, schema]) => [propertyName(field), schema])),
      required: there.filter(([field]) => required.has(field)).map(([field]) => propertyName(field)),
      additionalProperties: false,
    });
  });
  const [first, ...others] = schemas;
  const schema = first !== undefined && others.length === 0 ? first : schemaOf({ anyOf: schemas });
  return { schema, notes: [...notes, ...moved] };
}

/** Whether structured outputs shall always have the field: its zero value says the same as its absence. */
function isAlwaysThere(field: DescField, choices: readonly Choice[]): boolean {
  if (choices.some(({ fields }) => fields.includes(field)) || ignoresZero(field)) return false;
  return field.fieldKind === "list" || isImplicit(field);
}
