import type { Path } from "@bufbuild/protobuf/reflect";
import { hasCustomJson } from "./custom-json.ts";

/** The path of a member of a message as it stands in its JSON: `items[2].quantity`. */
export function jsonPath(path: Path): string {
  let text = "";
  for (const [index, part] of path.entries()) {
    switch (part.kind) {
      case "field":
        // The seconds of a Timestamp are a part of its text.
        if (hasCustomJson(part.parent.typeName)) return text;
        text = memberPath(text, part.jsonName);
        break;
      case "extension":
        text = memberPath(text, `[${part.typeName}]`);
        break;
      case "list_sub":
        text += `[${part.index}]`;
        break;
      case "map_sub":
        text = keyPath(text, String(part.key));
        break;
      case "oneof":
        // It has no place in the JSON. That it is wrong is wrong with the message that it is in.
        if (index === path.length - 1) return text;
        break;
    }
  }
  return text;
}

/** The path of a field of the message at a path. */
export function memberPath(path: string, name: string): string {
  return /^[\w@-]+$/.test(name) ? `${path}${path && "."}${name}` : keyPath(path, name);
}

/** The path of an entry of the map at a path. */
export function keyPath(path: string, key: string): string {
  return `${path}[${JSON.stringify(short(key))}]`;
}

/** Keys are what a caller, or Claude, wrote: any length. */
function short(key: string): string {
  return key.length > 64 ? `${key.slice(0, 64)}…`.toWellFormed() : key;
}
