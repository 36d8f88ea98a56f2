import type { DescField } from "@bufbuild/protobuf";

/** What a field is called in a schema: its JSON name, or its own where Claude's rule for names of properties forbids that. */
export function propertyName({ jsonName, name }: DescField): string {
  return /^[a-zA-Z0-9_.-]{1,64}$/.test(jsonName) ? jsonName : name;
}
