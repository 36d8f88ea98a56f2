import { type Schema, type Shape, schemaText } from "./schema-tree.ts";

/** What structured outputs know of JSON Schema. The SDK's `transformJSONSchema` keeps the same. */
const KEYWORDS = new Set(["type", "enum", "const", "items", "properties", "required", "additionalProperties"]);
const FORMATS = new Set(["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"]);

/** Keywords that always have a note beside them that says the same. */
const IN_WORDS = new Set(["anyOf", "contentEncoding"]);

/**
 * The shape of a value without the keywords that structured outputs refuse. As the SDK does it, they become a part of the
 * description.
 */
export function restrict({ schema, notes }: Shape): Shape {
  const kept: Schema = new Map();
  const told: string[] = [];
  for (const [keyword, value] of schema) {
    if (KEYWORDS.has(keyword) || (keyword === "format" && FORMATS.has(String(value)))) {
      kept.set(keyword, value);
    } else if (keyword === "minItems" && (value === 0 || value === 1)) {
      kept.set(keyword, value);
    } else {
      if (keyword === "minItems") kept.set(keyword, 1);
      if (!IN_WORDS.has(keyword)) told.push(`${keyword}: ${schemaText(value)}`);
    }
  }
  return { schema: kept, notes: told.length > 0 ? [...notes, `{${told.join(", ")}}`] : notes };
}

/** Limits of structured outputs over all schemas of a request. */
const MAX_OPTIONAL = 24;
const MAX_UNIONS = 16;

/** How many more fields may be left out. */
export class OptionalFields {
  #optional = MAX_OPTIONAL;
  #nullable = MAX_UNIONS;

  /**
   * How a field can be left out that stands in so many places: by its absence, or by null. Undefined: in no way, there are
   * too many of them.
   */
  take(places: number): "absent" | "null" | undefined {
    if (this.#optional >= places) {
      this.#optional -= places;
      return "absent";
    }
    if (this.#nullable >= places) {
      this.#nullable -= places;
      return "null";
    }
    return undefined;
  }
}
