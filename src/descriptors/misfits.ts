import {
  type DescField,
  type DescMessage,
  fromJson,
  type JsonObject,
  type JsonValue,
  type Registry,
  ScalarType,
} from "@bufbuild/protobuf";
import { messageInAny } from "./any-json.ts";
import { hasCustomJson } from "./custom-json.ts";
import { enumText, messageText, mustBe, names, scalarText, unknownField } from "./expectations.ts";
import { keyPath, memberPath } from "./json-path.ts";

/** What is wrong with a part of the JSON text of a message. */
export interface FieldProblem {
  /** Path of the part in the JSON, for example `items[2].quantity`. Empty: the whole. */
  readonly path: string;
  /** What is wrong, without the value that is: `must be a string, but is a number`. */
  readonly description: string;
}

/** After so many problems the search ends. */
const MAX_PROBLEMS = 100;
/** As deep as protobuf's parser goes. */
const MAX_DEPTH = 100;

/**
 * The places of a JSON value that protobuf's parser would refuse: it says what is wrong, but not where. All leaves are
 * given to that parser, so that both always agree.
 */
export function findMisfits(desc: DescMessage, json: JsonValue, registry: Registry): FieldProblem[] {
  const search = new Search(registry);
  search.message(desc, json, "", 1);
  return search.problems;
}

class Search {
  readonly problems: FieldProblem[] = [];
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  message(desc: DescMessage, json: JsonValue, path: string, depth: number): void {
    if (depth > MAX_DEPTH) {
      this.#add(path, `must not be nested deeper than ${MAX_DEPTH} messages`);
    } else if (desc.typeName === "google.protobuf.Any") {
      this.#any(desc, json, path, depth);
    } else if (hasCustomJson(desc.typeName)) {
      if (!this.#accepts(desc, json)) this.#add(path, mustBe(messageText(desc), json));
    } else if (!isObject(json)) {
      this.#add(path, mustBe("an object", json));
    } else {
      this.#fields(desc, json, path, depth);
    }
  }

  #fields(desc: DescMessage, json: JsonObject, path: string, depth: number): void {
    const seen = new Set<unknown>();
    for (const [name, value] of Object.entries(json)) {
      if (this.problems.length >= MAX_PROBLEMS) return;
      const field = desc.fields.find((one) => one.jsonName === name || one.name === name);
      const place = memberPath(path, name);
      if (field === undefined) {
        if (!this.#accepts(desc, { [name]: value })) this.#add(place, unknownField(desc));
        continue;
      }
      const { oneof } = field;
      if (seen.has(field)) this.#add(place, "must not be set twice, by both of its names");
      if (oneof !== undefined && seen.has(oneof)) {
        this.#add(place, `must not be set beside another one of ${names(oneof.fields)}`);
      }
      seen.add(field);
      // A null is no value here; only those that the parser counts are counted.
      if (oneof !== undefined && !(value === null && field.fieldKind === "scalar")) seen.add(oneof);
      this.#field(desc, field, name, value, place, depth);
    }
  }

  #field(desc: DescMessage, field: DescField, name: string, value: JsonValue, path: string, depth: number): void {
    const isNull = value === null && this.#accepts(desc, { [name]: value });
    if (isNull) return;
    switch (field.fieldKind) {
      case "list":
        if (!Array.isArray(value)) this.#add(path, mustBe("an array", value));
        else {
          for (const [index, item] of value.entries()) {
            if (this.problems.length >= MAX_PROBLEMS) return;
            const isLegal = (one: JsonValue) => this.#accepts(desc, { [name]: [one] });
            this.#value(field, item, isLegal, `${path}[${index}]`, depth);
          }
        }
        break;
      case "map":
        if (!isObject(value)) this.#add(path, mustBe("an object", value));
        else this.#entries(desc, field, name, value, path, depth);
        break;
      default:
        this.#value(field, value, (one) => this.#accepts(desc, { [name]: one }), path, depth);
    }
  }

  #entries(
    desc: DescMessage,
    field: DescField & { fieldKind: "map" },
    name: string,
    entries: JsonObject,
    path: string,
    depth: number,
  ): void {
    const legal = this.problems.length;
    for (const [key, value] of Object.entries(entries)) {
      if (this.problems.length >= MAX_PROBLEMS) return;
      const place = keyPath(path, key);
      const isLegal = (one: JsonValue) => this.#accepts(desc, { [name]: { [key]: one } });
      const before = this.problems.length;
      this.#value(field, value, isLegal, place, depth);
      const isFine = this.problems.length === before;
      if (isFine && field.fieldKind === "map" && !isLegal(value)) {
        this.#add(place, `must have a key that is ${scalarText(field.mapKey)}`);
      }
    }
    if (this.problems.length === legal && !this.#accepts(desc, { [name]: entries })) {
      this.#add(path, "must not have the same key twice");
    }
  }

  /** One value of a field: itself, an item, or an entry. */
  #value(
    field: DescField,
    value: JsonValue,
    isLegal: (value: JsonValue) => boolean,
    path: string,
    depth: number,
  ): void {
    if (field.message !== undefined) {
      if (value === null && !isLegal(value)) this.#add(path, mustBe(messageText(field.message), value));
      else this.message(field.message, value, path, depth + 1);
    } else if (!isLegal(value)) {
      // A key may be at fault instead of its value: then another one with the same key is refused, too.
      if (field.fieldKind === "map" && field.scalar !== undefined && !isLegal(zeroOf(field.scalar))) return;
      if (field.fieldKind === "map" && field.enum !== undefined && !isLegal(field.enum.values[0]?.name ?? 0)) return;
      const expected = field.enum !== undefined ? enumText(field.enum) : scalarText(field.scalar ?? ScalarType.STRING);
      this.#add(path, mustBe(expected, value));
    }
  }

  #any(desc: DescMessage, json: JsonValue, path: string, depth: number): void {
    if (!isObject(json)) {
      this.#add(path, mustBe(messageText(desc), json));
      return;
    }
    if (Object.keys(json).length === 0) return;
    const packed = messageInAny(json, this.#registry);
    if (packed === undefined) {
      this.#add(memberPath(path, "@type"), "must be the name of a type that is known");
    } else if (hasCustomJson(packed.typeName) && Object.hasOwn(json, "value")) {
      this.message(packed, json.value ?? null, memberPath(path, "value"), depth + 1);
    } else {
      const { "@type": _, ...fields } = json;
      this.message(packed, fields, path, depth + 1);
    }
  }

  #accepts(desc: DescMessage, json: JsonValue): boolean {
    try {
      fromJson(desc, json, { registry: this.#registry });
      return true;
    } catch {
      return false;
    }
  }

  #add(path: string, description: string): void {
    this.problems.push({ path, description });
  }
}

function isObject(json: JsonValue): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

function zeroOf(scalar: ScalarType): JsonValue {
  if (scalar === ScalarType.STRING || scalar === ScalarType.BYTES) return "";
  return scalar === ScalarType.BOOL ? false : 0;
}
