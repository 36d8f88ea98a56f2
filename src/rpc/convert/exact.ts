import { invalidField, type ParleyError } from "../../errors/parley-error.ts";
import { members, RawJson } from "../../upstream/raw-json.ts";

/**
 * A field that holds the JSON text of an object, to be sent as it is.
 *
 * @throws {ParleyError} INVALID_REQUEST when it is none.
 */
export function rawObject(text: string, field: string): RawJson {
  objectMembers(text, field);
  return new RawJson(text);
}

/** The members of a field that holds the JSON text of an object. Throws as `rawObject`. */
export function objectMembers(text: string, field: string): ReadonlyMap<string, string> {
  try {
    return members(text);
  } catch {
    throw notAnObject(field);
  }
}

function notAnObject(field: string): ParleyError {
  return invalidField(field, "must be the JSON text of an object");
}

/** A field that holds the JSON text of any value. Throws as `rawObject`. */
export function rawValue(text: string, field: string): RawJson {
  try {
    JSON.parse(text);
  } catch {
    throw invalidField(field, "must be JSON text");
  }
  return new RawJson(text);
}

/**
 * Adds the members of an `extra_json` field to an object for Claude: those that the object does not have, and inside
 * of objects that both have.
 */
export function withExtra<T extends object>(value: T, extraJson: string, field: string): T {
  if (extraJson === "") return value;
  const result = new Map<string, unknown>(Object.entries(value));
  for (const [name, text] of objectMembers(extraJson, field)) {
    const own = result.get(name);
    if (own === undefined) result.set(name, new RawJson(text));
    else if (isPlainObject(own) && text.startsWith("{")) result.set(name, withExtra(own, text, field));
  }
  return Object.fromEntries(result) as T;
}

function isPlainObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof RawJson);
}
