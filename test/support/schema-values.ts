import fc from "fast-check";

type Schema = Readonly<Record<string, unknown>>;
type Draw = fc.GeneratorValue;

/** From this depth on, objects have only what they must, so that recursive schemas come to an end. */
const DEEP = 4;

/** Values that fit a JSON schema: all that its keywords allow, for those keywords that Parley's schemas have. */
export function valuesOf(schemaText: string): fc.Arbitrary<unknown> {
  const root = JSON.parse(schemaText) as Schema;
  return fc.gen().map((draw) => new Generator(root, draw).value(root, 0));
}

class Generator {
  readonly #root: Schema;
  readonly #draw: Draw;

  constructor(root: Schema, draw: Draw) {
    this.#root = root;
    this.#draw = draw;
  }

  value(schema: Schema, depth: number): unknown {
    if (typeof schema.$ref === "string") return this.value(this.#resolve(schema.$ref), depth);
    if ("const" in schema) return schema.const;
    if (schema.enum !== undefined) return this.#oneOf(schema.enum as unknown[]);
    if (schema.anyOf !== undefined) {
      const { anyOf, ...rest } = schema;
      return this.value({ ...rest, ...this.#oneOf(anyOf as Schema[]) }, depth);
    }
    switch (schema.type) {
      case "object":
        return this.#object(schema, depth);
      case "array":
        return this.#array(schema, depth);
      case "string":
        return this.#draw(strings, schema);
      case "integer":
        return this.#draw(integers, schema);
      case "number":
        return this.#draw(numbers, schema);
      case "boolean":
        return this.#draw(fc.boolean);
      case "null":
        return null;
      default:
        if (schema.type !== undefined) throw new Error(`type ${schema.type}`);
        return this.#draw(fc.jsonValue, { maxDepth: 2 });
    }
  }

  #object(schema: Schema, depth: number): unknown {
    const properties = (schema.properties ?? {}) as Record<string, Schema>;
    const required = new Set(schema.required as string[] | undefined);
    const absent = new Set<string>();
    for (const ways of choicesOf(schema)) {
      const way = depth >= DEEP ? (ways.at(-1) as Schema) : this.#oneOf(ways);
      for (const name of ways.flatMap(({ required: names = [] }) => names as string[])) absent.add(name);
      for (const name of (way.required ?? []) as string[]) {
        absent.delete(name);
        required.add(name);
      }
    }
    const members = new Map<string, unknown>();
    for (const [name, property] of Object.entries(properties)) {
      if (absent.has(name)) continue;
      const isThere = required.has(name) || (depth < DEEP && this.#draw(fc.boolean));
      if (isThere) members.set(name, this.value(property, depth + 1));
    }
    if (typeof schema.additionalProperties === "object") this.#entries(schema, members, depth);
    else if (schema.additionalProperties === undefined) {
      // An Any, whose other members depend on its type; or what may have any members.
      if ("@type" in properties) members.set("value", "1.5s");
      else {
        for (const [name, value] of Object.entries(this.#draw(fc.dictionary, fc.string(), fc.jsonValue()) as object)) {
          members.set(name, value);
        }
      }
    }
    return Object.fromEntries(members);
  }

  #entries(schema: Schema, members: Map<string, unknown>, depth: number): void {
    const {
      propertyNames = {},
      minProperties = 0,
      maxProperties = 3,
    } = schema as {
      propertyNames?: Schema;
      minProperties?: number;
      maxProperties?: number;
    };
    const length = this.#draw(fc.integer, { min: minProperties, max: depth >= DEEP ? minProperties : maxProperties });
    const key = "enum" in propertyNames ? fc.constantFrom(...(propertyNames.enum as string[])) : strings(propertyNames);
    const keys = this.#draw(fc.uniqueArray<string, string>, key, {
      minLength: Math.min(length, "enum" in propertyNames ? 2 : length),
      maxLength: Math.min(length, "enum" in propertyNames ? 2 : length),
    });
    for (const name of keys) members.set(name, this.value(schema.additionalProperties as Schema, depth + 1));
  }

  #array(schema: Schema, depth: number): unknown[] {
    const {
      minItems = 0,
      maxItems = minItems + 3,
      uniqueItems = false,
    } = schema as {
      minItems?: number;
      maxItems?: number;
      uniqueItems?: boolean;
    };
    const length = this.#draw(fc.integer, { min: minItems, max: depth >= DEEP ? minItems : maxItems });
    const items = Array.from({ length }, () => this.value((schema.items ?? {}) as Schema, depth + 1));
    return uniqueItems ? [...new Set(items)] : items;
  }

  #oneOf<T>(values: readonly T[]): T {
    return this.#draw(fc.constantFrom as (...all: T[]) => fc.Arbitrary<T>, ...values);
  }

  #resolve(ref: string): Schema {
    if (ref === "#") return this.#root;
    const definitions = this.#root.$defs as Record<string, Schema>;
    const found = definitions[ref.replace("#/$defs/", "")];
    if (found === undefined) throw new Error(`${ref} leads nowhere`);
    return found;
  }
}

/** Groups of ways of which one is to be chosen. */
function choicesOf({ oneOf, allOf, then }: Schema): readonly (readonly Schema[])[] {
  if (then !== undefined) return choicesOf(then as Schema);
  if (allOf !== undefined) return (allOf as Schema[]).flatMap(choicesOf);
  return oneOf === undefined ? [] : [oneOf as Schema[]];
}

function excluded<T>({ not }: Schema, values: fc.Arbitrary<T>): fc.Arbitrary<T> {
  const refused = (not as { enum?: unknown[] } | undefined)?.enum ?? [];
  return refused.length === 0 ? values : values.filter((value) => !refused.includes(value));
}

function integers(schema: Schema): fc.Arbitrary<number> {
  const {
    minimum = 0,
    maximum = 1_000,
    exclusiveMinimum = minimum - 1,
    exclusiveMaximum = maximum + 1,
  } = schema as Record<string, number>;
  const min = "exclusiveMinimum" in schema ? exclusiveMinimum + 1 : minimum;
  return excluded(
    schema,
    fc.integer({ min, max: "exclusiveMaximum" in schema ? exclusiveMaximum - 1 : Math.max(maximum, min) }),
  );
}

function numbers(schema: Schema): fc.Arbitrary<number> {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema as Record<string, number | undefined>;
  const min = exclusiveMinimum ?? minimum ?? -Number.MAX_VALUE;
  const max = exclusiveMaximum ?? maximum ?? Number.MAX_VALUE;
  const options = {
    min,
    max,
    minExcluded: exclusiveMinimum !== undefined,
    maxExcluded: exclusiveMaximum !== undefined,
    noNaN: true,
  };
  return excluded(schema, fc.double(options));
}

const formats: Record<string, () => fc.Arbitrary<string>> = {
  "date-time": () =>
    fc
      .date({ min: new Date("0001-01-01T00:00:00Z"), max: new Date("9999-12-31T23:59:59Z"), noInvalidDate: true })
      .map((date) => date.toISOString()),
  email: () => fc.emailAddress(),
  hostname: () => fc.domain(),
  ipv4: () => fc.ipV4(),
  ipv6: () => fc.ipV6(),
  uri: () => fc.webUrl(),
  uuid: () => fc.uuid(),
};

function strings(schema: Schema): fc.Arbitrary<string> {
  const {
    format,
    pattern,
    contentEncoding,
    minLength = 0,
    maxLength = minLength + 10,
  } = schema as {
    format?: string;
    pattern?: string;
    contentEncoding?: string;
    minLength?: number;
    maxLength?: number;
  };
  if (format !== undefined) {
    const make = formats[format];
    if (make === undefined) throw new Error(`format ${format}`);
    return make();
  }
  if (contentEncoding === "base64") {
    const bytes = fc.uint8Array({ minLength: minLength > 0 ? 1 : 0, maxLength: 20 });
    return bytes.map((value) => Buffer.from(value).toString("base64"));
  }
  if (pattern !== undefined) return excluded(schema, fc.stringMatching(new RegExp(pattern)));
  return excluded(schema, fc.string({ unit: "binary", minLength, maxLength }));
}
