import type { DescEnum, DescField, DescMessage } from "@bufbuild/protobuf";
import { hasCustomJson } from "./custom-json.ts";
import { ShapeError } from "./schema-tree.ts";

/** The messages that are objects in JSON, and the enums, that can be reached from a message: how often each is used. */
export function countUses(root: DescMessage): ReadonlyMap<DescMessage | DescEnum, number> {
  const uses = new Map<DescMessage | DescEnum, number>([[root, 1]]);
  // A list instead of recursion: messages may be nested deeper than the call stack goes.
  const found = [root];
  for (const message of found) {
    for (const field of message.fields) {
      const type = nestedMessage(field) ?? field.enum;
      if (type === undefined) continue;
      const count = uses.get(type) ?? 0;
      uses.set(type, count + 1);
      if (count === 0 && type.kind === "message") found.push(type);
    }
  }
  return uses;
}

/** The message of a field, its items or its entries, if it is an object of fields in JSON. */
export function nestedMessage(field: DescField): DescMessage | undefined {
  return field.message !== undefined && !hasCustomJson(field.message.typeName) ? field.message : undefined;
}

/** How deep messages may be nested in structured outputs. */
const MAX_DEPTH = 32;

/**
 * Checks that messages are not nested in themselves, or too deeply.
 *
 * @throws {ShapeError}
 */
export function checkNesting(root: DescMessage): void {
  /** Levels from a message down. */
  const heights = new Map<DescMessage, number>();
  const open = new Set<DescMessage>();
  const visit = (message: DescMessage, path: string): number => {
    const known = heights.get(message);
    if (known !== undefined && known + open.size <= MAX_DEPTH) return known;
    if (open.size >= MAX_DEPTH) throw new ShapeError(path, `messages are nested deeper than ${MAX_DEPTH} levels`);
    open.add(message);
    let height = 0;
    for (const field of message.fields) {
      const nested = nestedMessage(field);
      if (nested === undefined) continue;
      const place = path === "" ? field.name : `${path}.${field.name}`;
      if (open.has(nested)) {
        throw new ShapeError(place, `${nested.typeName} is nested in itself, which structured outputs cannot express`);
      }
      height = Math.max(height, visit(nested, place));
    }
    open.delete(message);
    heights.set(message, height + 1);
    return height + 1;
  };
  visit(root, "");
}
