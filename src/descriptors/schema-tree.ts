/** A JSON schema, or a part of one. A Map keeps the order of its members whatever they are called. */
export type Schema = Map<string, SchemaValue>;
export type SchemaValue = string | number | boolean | null | readonly SchemaValue[] | Schema;

/** A schema with these members, without those that are undefined. */
export function schemaOf(members: Readonly<Record<string, SchemaValue | undefined>>): Schema {
  return new Map(Object.entries(members).filter((entry): entry is [string, SchemaValue] => entry[1] !== undefined));
}

/** The schema with what no keyword says as its description, which comes after the type. */
export function described({ schema, notes }: Shape): Schema {
  if (notes.length === 0) return schema;
  const members: [string, SchemaValue][] = [...schema];
  members.splice(schema.has("type") || schema.has("$ref") ? 1 : 0, 0, ["description", notes.join("\n")]);
  return new Map(members);
}

/** The JSON text of a schema. */
export function schemaText(value: SchemaValue): string {
  if (value instanceof Map) {
    return `{${Array.from(value, ([key, member]) => `${JSON.stringify(key)}:${schemaText(member)}`).join(",")}}`;
  }
  if (Array.isArray(value)) return `[${value.map(schemaText).join(",")}]`;
  return JSON.stringify(value);
}

/** A message that a dialect of JSON Schema cannot hold. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
  /** Path of the field that it fails at, by the names of the proto: `items.labels`. Empty: the message itself. */
  readonly path: string;

  constructor(path: string, problem: string) {
    super(path === "" ? problem : `${path}: ${problem}`);
    this.path = path;
  }
}

/**
 * What Claude gets to know of a value: a schema, and what no keyword says. The notes become a part of the description.
 */
export interface Shape {
  readonly schema: Schema;
  readonly notes: string[];
}

/** `tool`: JSON Schema 2020-12. `output`: the part of it that Claude's structured outputs hold to. */
export type Dialect = "tool" | "output";
