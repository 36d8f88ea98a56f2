import { elements, membersOfValid, objectText, parseValid } from "../../upstream/raw-json.ts";

/** A member of Claude's JSON has another type than the proto has room for. */
export class Mismatch extends Error {
  override readonly name = "Mismatch";
}

const INT32_MAX = 2_147_483_647;

/**
 * Reads the members of a JSON object of Claude's, one by one, and keeps account of which were read: those that were not
 * go into `extra_json`. A member that is `null` counts as absent.
 *
 * All methods throw Mismatch for a member of another type.
 */
export class Reader {
  readonly #members: ReadonlyMap<string, string>;
  readonly #read = new Set<string>();
  readonly #nested = new Map<string, Reader>();

  constructor(source: ReadonlyMap<string, string>) {
    this.#members = source;
  }

  /** @param objectText what is known to be JSON. */
  static of(objectText: string): Reader {
    return new Reader(object(objectText));
  }

  /** Exact text of a member. */
  raw(name: string): string | undefined {
    const text = this.#members.get(name);
    this.#read.add(name);
    return text === "null" ? undefined : text;
  }

  /** Exact text of a member that may be any JSON value, `null` too. */
  exact(name: string): string | undefined {
    this.#read.add(name);
    return this.#members.get(name);
  }

  string(name: string): string {
    return this.optionalString(name) ?? "";
  }

  optionalString(name: string): string | undefined {
    const value = this.#value(name);
    if (value === undefined || typeof value === "string") return value;
    throw new Mismatch(`${name} is not a string`);
  }

  int(name: string): number {
    return this.optionalInt(name) ?? 0;
  }

  optionalInt(name: string): number | undefined {
    const value = this.#value(name);
    if (value === undefined) return undefined;
    if (Number.isInteger(value) && Math.abs(value as number) <= INT32_MAX) return value as number;
    throw new Mismatch(`${name} is not a 32-bit integer`);
  }

  /** A number of things: not below 0. */
  optionalCount(name: string): number | undefined {
    const value = this.optionalInt(name);
    if (value !== undefined && value < 0) throw new Mismatch(`${name} is below 0`);
    return value;
  }

  optionalBoolean(name: string): boolean | undefined {
    const value = this.#value(name);
    if (value === undefined || typeof value === "boolean") return value;
    throw new Mismatch(`${name} is not a boolean`);
  }

  /** A member that is an object. What is not read of it stays in `extra_json`, in the same nesting. */
  nested(name: string): Reader | undefined {
    const text = this.raw(name);
    if (text === undefined) return undefined;
    const reader = this.#nested.get(name) ?? Reader.of(text);
    this.#nested.set(name, reader);
    return reader;
  }

  /** The exact texts of the elements of an array. */
  list(name: string): readonly string[] {
    const text = this.raw(name);
    if (text === undefined) return [];
    if (!text.startsWith("[")) throw new Mismatch(`${name} is not an array`);
    return elements(text);
  }

  /** Reads a member, or leaves it to `extra_json` when it does not fit. */
  attempt<T>(name: string, read: (reader: Reader) => T): T | undefined {
    try {
      return read(this);
    } catch (error) {
      if (!(error instanceof Mismatch)) throw error;
      this.#read.delete(name);
      this.#nested.delete(name);
      return undefined;
    }
  }

  /** All that was not read, as one JSON object. Empty: all was. */
  extraJson(): string {
    const rest: [string, string][] = [];
    for (const [name, text] of this.#members) {
      if (!this.#read.has(name)) rest.push([name, text]);
      const nested = this.#nested.get(name)?.extraJson();
      if (nested !== undefined && nested !== "") rest.push([name, nested]);
    }
    return rest.length === 0 ? "" : objectText(rest);
  }

  #value(name: string): unknown {
    const text = this.raw(name);
    return text === undefined ? undefined : parseValid(text);
  }
}

function object(text: string): ReadonlyMap<string, string> {
  if (!text.startsWith("{")) throw new Mismatch("not an object");
  return membersOfValid(text);
}
