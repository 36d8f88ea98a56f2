import type { DescEnum, DescField, DescMessage } from "@bufbuild/protobuf";
import type { Validator } from "@bufbuild/protovalidate";
import { createValidator } from "@bufbuild/protovalidate";
import type { EnumRules, FieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { commentOf } from "./comments.ts";
import { hasCustomJson } from "./custom-json.ts";
import { demandedFields } from "./demanded-fields.ts";
import { enumShape, offersAll } from "./enum-schema.ts";
import { type Choice, choiceNotes, choiceRule, choicesOf, combinations } from "./field-choices.ts";
import { OptionalFields, restrict } from "./output-dialect.ts";
import { outputObject } from "./output-object.ts";
import { propertyName } from "./property-name.ts";
import { excludesZero, expressionNotes, inForce, messageRulesOf, rulesOf } from "./rules.ts";
import { keySchema, scalarShape } from "./scalar-schema.ts";
import {
  type Dialect,
  described,
  type Schema,
  type SchemaValue,
  type Shape,
  ShapeError,
  schemaOf,
  schemaText,
} from "./schema-tree.ts";
import { checkNesting, countUses, nestedMessage } from "./type-uses.ts";
import { wellKnownShape } from "./well-known-schema.ts";

export { type Dialect, ShapeError } from "./schema-tree.ts";

/** The longest text of a schema, in characters. */
export const MAX_SCHEMA_CHARACTERS = 256 * 1024;

/** How deep schemas of messages stand in each other, at most. What is deeper is told in `$defs`. */
const MAX_INLINE_DEPTH = 6;

/**
 * The JSON schema of a message in protobuf's JSON mapping: exact JSON text, always the same for the same descriptor. What
 * fits it is a message, unless it breaks one of the rules that only its descriptions tell.
 *
 * Comments become descriptions, and protovalidate rules become constraints, or a part of the descriptions.
 *
 * @param validator knows the rules that the descriptors define themselves.
 * @throws {ShapeError} when the dialect cannot hold the message, or the text would be too long.
 */
export function messageSchema(
  desc: DescMessage,
  dialect: Dialect,
  validator: Validator = createValidator({ legacyRequired: true }),
): string {
  return new SchemaBuilder(desc, dialect, validator).build();
}

/** Where in the schema a message stands. */
interface Place {
  /** Path by the names of the proto. */
  readonly path: string;
  /** How many schemas of messages it stands in. */
  readonly depth: number;
}

class SchemaBuilder {
  readonly #root: DescMessage;
  readonly #dialect: Dialect;
  readonly #validator: Validator;
  readonly #uses: ReadonlyMap<DescMessage | DescEnum, number>;
  /** What `$defs` has, in the order of the first use. */
  readonly #shared = new Map<DescMessage | DescEnum, string>();
  readonly #optional = new OptionalFields();

  constructor(root: DescMessage, dialect: Dialect, validator: Validator) {
    this.#root = root;
    this.#dialect = dialect;
    this.#validator = validator;
    this.#uses = countUses(root);
  }

  build(): string {
    const root = this.#rootShape();
    let size = 0;
    const write = (schema: SchemaValue) => {
      const text = schemaText(schema);
      size += text.length;
      if (size > MAX_SCHEMA_CHARACTERS) {
        throw new ShapeError(
          "",
          `the schema has more than ${MAX_SCHEMA_CHARACTERS} characters: the message is too large`,
        );
      }
      return text;
    };
    const text = write(described(root));
    const definitions: string[] = [];
    // More of them come to it while it runs.
    for (const [type, path] of this.#shared) {
      const shape = type.kind === "enum" ? this.#ownEnum(type) : this.#object(type, { path, depth: 0 });
      definitions.push(`${JSON.stringify(type.typeName)}:${write(described(shape))}`);
    }
    return definitions.length === 0 ? text : `${text.slice(0, -1)},"$defs":{${definitions.join(",")}}}`;
  }

  #rootShape(): Shape {
    const { typeName } = this.#root;
    if (this.#dialect === "output") checkNesting(this.#root);
    if (!hasCustomJson(typeName)) return this.#object(this.#root, { path: "", depth: 0 });
    const shape = wellKnownShape(this.#root, undefined, this.#dialect, "");
    if (shape.schema.get("type") !== "object") throw new ShapeError("", `a ${typeName} is no object in JSON`);
    return shape;
  }

  #object(desc: DescMessage, place: Place): Shape {
    const choices = choicesOf(desc);
    const demanded = demandedFields(desc, this.#validator);
    const rules = messageRulesOf(desc);
    const notes = [commentOf(desc), ...expressionNotes(rules), ...choiceNotes(choices)].filter((note) => note !== "");
    if (this.#dialect === "output") {
      const variants = combinations(choices, desc.fields.length);
      // What stands in several variants is told once.
      const fieldPlace = variants.length > 1 ? { ...place, depth: MAX_INLINE_DEPTH } : place;
      const fields = new Map(desc.fields.map((field) => [field, this.#field(field, fieldPlace, choices)]));
      return outputObject({ fields, variants, choices, demanded, notes, optional: this.#optional, path: place.path });
    }
    const properties: Schema = new Map();
    for (const field of desc.fields) properties.set(propertyName(field), described(this.#field(field, place, choices)));
    const required = desc.fields.filter((field) => demanded.has(field)).map(propertyName);
    const schema = schemaOf({
      type: "object",
      properties,
      required: required.length > 0 ? required : undefined,
      additionalProperties: false,
    });
    const rule = choiceRule(choices);
    if (rule !== undefined) {
      // The schema of a tool's arguments may have no oneOf, allOf or anyOf at its top level.
      if (desc === this.#root) schema.set("if", new Map()).set("then", schemaOf({ [rule.keyword]: rule.value }));
      else schema.set(rule.keyword, rule.value);
    }
    return { schema, notes };
  }

  #field(field: DescField, place: Place, choices: readonly Choice[]): Shape {
    const rules = inForce(rulesOf(field));
    const inner = { ...place, path: pathOf(place, field) };
    const isNonZero =
      excludesZero(field) || choices.some((choice) => choice.isNonZero && choice.fields.includes(field));
    const shape = this.#fieldShape(field, rules, isNonZero, inner);
    const notes = [
      commentOf(field),
      field.deprecated ? "Deprecated." : "",
      ...expressionNotes(rules),
      defaultNote(field),
    ];
    return { schema: shape.schema, notes: [...notes.filter((note) => note !== ""), ...shape.notes] };
  }

  #fieldShape(field: DescField, rules: FieldRules | undefined, isNonZero: boolean, place: Place): Shape {
    switch (field.fieldKind) {
      case "list": {
        const {
          minItems = 0n,
          maxItems,
          unique,
          items,
        } = rules?.type.case === "repeated" ? ownMembers(rules.type.value) : {};
        const least = Math.max(Number(minItems), isNonZero ? 1 : 0);
        return this.#restricted({
          schema: schemaOf({
            type: "array",
            items: described(this.#value(field, inForce(items), place)),
            minItems: least > 0 ? least : undefined,
            maxItems: maxItems === undefined ? undefined : Number(maxItems),
            uniqueItems: unique === true ? true : undefined,
          }),
          notes: expressionNotes(inForce(items)),
        });
      }
      case "map":
        return this.#map(field, rules, isNonZero, place);
      default:
        return this.#value(field, rules, place, isNonZero);
    }
  }

  #map(
    field: DescField & { fieldKind: "map" },
    rules: FieldRules | undefined,
    isNonZero: boolean,
    place: Place,
  ): Shape {
    if (this.#dialect === "output") {
      throw new ShapeError(place.path, "a map can have any keys, which structured outputs cannot express");
    }
    const { minPairs = 0n, maxPairs, keys, values } = rules?.type.case === "map" ? ownMembers(rules.type.value) : {};
    const key = keySchema(field.mapKey, inForce(keys));
    const least = Math.max(Number(minPairs), isNonZero ? 1 : 0);
    const keyNotes = [...(key?.notes ?? []), ...expressionNotes(inForce(keys))].map((note) => `Each key: ${note}`);
    return {
      schema: schemaOf({
        type: "object",
        propertyNames: key?.schema,
        additionalProperties: described(this.#value(field, inForce(values), place)),
        minProperties: least > 0 ? least : undefined,
        maxProperties: maxPairs === undefined ? undefined : Number(maxPairs),
      }),
      notes: [...keyNotes, ...expressionNotes(inForce(values)).map((note) => `Each value: ${note}`)],
    };
  }

  /** A value of a field: itself, an item, or the value of an entry. */
  #value(field: DescField, rules: FieldRules | undefined, place: Place, isNonZero = false): Shape {
    if (field.enum !== undefined) return this.#enum(field.enum, rules, place, isNonZero);
    const { message } = field;
    if (message === undefined) {
      if (field.scalar === undefined) throw new TypeError(`${field} has no type`);
      return this.#restricted(scalarShape(field.scalar, rules, isNonZero, this.#dialect));
    }
    const nested = nestedMessage(field);
    if (nested === undefined) return this.#restricted(wellKnownShape(message, rules, this.#dialect, place.path));
    if (nested === this.#root) return this.#reference("#");
    if ((this.#uses.get(nested) ?? 0) > 1 || place.depth >= MAX_INLINE_DEPTH) return this.#share(nested, place.path);
    return this.#object(nested, { ...place, depth: place.depth + 1 });
  }

  #enum(desc: DescEnum, rules: FieldRules | undefined, place: Place, isNonZero: boolean): Shape {
    const own: EnumRules | undefined = rules?.type.case === "enum" ? rules.type.value : undefined;
    if ((this.#uses.get(desc) ?? 0) > 1 && offersAll(own, isNonZero)) return this.#share(desc, place.path);
    const shape = enumShape(desc, own, isNonZero);
    return { ...shape, notes: [commentOf(desc), ...shape.notes].filter((note) => note !== "") };
  }

  #ownEnum(desc: DescEnum): Shape {
    const shape = enumShape(desc, undefined, false);
    return { ...shape, notes: [commentOf(desc), ...shape.notes].filter((note) => note !== "") };
  }

  #share(type: DescMessage | DescEnum, path: string): Shape {
    if (!this.#shared.has(type)) this.#shared.set(type, path);
    return this.#reference(`#/$defs/${type.typeName}`);
  }

  #reference(pointer: string): Shape {
    return { schema: schemaOf({ $ref: pointer }), notes: [] };
  }

  #restricted(shape: Shape): Shape {
    return this.#dialect === "output" ? restrict(shape) : shape;
  }
}

function pathOf({ path }: Pick<Place, "path">, { name }: DescField): string {
  return path === "" ? name : `${path}.${name}`;
}

function defaultNote(field: DescField): string {
  if (field.fieldKind !== "scalar" && field.fieldKind !== "enum") return "";
  const value = field.getDefaultValue();
  if (value === undefined || value instanceof Uint8Array) return "";
  const told = field.fieldKind === "enum" ? field.enum.value[Number(value)]?.jsonName : value;
  return `Default: ${told}.`;
}

/** The members that are set, without those of the prototype: default values. */
function ownMembers<T extends object>(message: T): Partial<T> {
  return { ...message };
}
