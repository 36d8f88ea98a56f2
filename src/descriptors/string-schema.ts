import type { BytesRules, StringRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { isSet } from "./rules.ts";
import { type Schema, type Shape, schemaOf } from "./schema-tree.ts";

/** How a format of protovalidate's is told: by a format of JSON Schema, a pattern, or in words. */
const formats: Partial<Record<string, Readonly<Record<string, string>>>> = {
  email: { format: "email" },
  hostname: { format: "hostname" },
  ip: { note: "An IPv4 or IPv6 address." },
  ipv4: { format: "ipv4" },
  ipv6: { format: "ipv6" },
  uri: { format: "uri" },
  uriRef: { format: "uri-reference" },
  address: { note: "A host name or an IP address." },
  uuid: { format: "uuid" },
  tuuid: { pattern: "^[0-9a-fA-F]{32}$", note: "A UUID without its dashes." },
  ulid: { pattern: "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$", note: "A ULID." },
  protobufFqn: { pattern: "^[A-Za-z_][A-Za-z_0-9]*(\\.[A-Za-z_][A-Za-z_0-9]*)*$" },
  protobufDotFqn: { pattern: "^(\\.[A-Za-z_][A-Za-z_0-9]*)+$" },
  ipWithPrefixlen: { note: "An IP address with the length of its prefix, such as 10.1.2.3/16." },
  ipv4WithPrefixlen: { note: "An IPv4 address with the length of its prefix, such as 10.1.2.3/16." },
  ipv6WithPrefixlen: { note: "An IPv6 address with the length of its prefix, such as 2001:db8::1/48." },
  ipPrefix: { note: "An IP network, such as 10.1.0.0/16." },
  ipv4Prefix: { note: "An IPv4 network, such as 10.1.0.0/16." },
  ipv6Prefix: { note: "An IPv6 network, such as 2001:db8::/32." },
  hostAndPort: { note: "A host name or an IP address, a colon, and a port." },
  wellKnownRegex: { note: "The name or the value of an HTTP header." },
};

/** The schema of a text. */
export function stringShape(rules: StringRules | undefined, excludesZero: boolean): Shape {
  const schema = schemaOf({ type: "string" });
  const shape: Shape = { schema, notes: [] };
  if (rules !== undefined) {
    addLengths(shape, rules);
    addPatterns(shape, rules);
    addFormat(shape, rules);
    addValues(schema, rules);
  }
  if (excludesZero && !schema.has("const") && !schema.has("enum")) {
    schema.set("minLength", Math.max(1, Number(schema.get("minLength") ?? 0)));
  }
  return shape;
}

function addLengths({ schema, notes }: Shape, rules: StringRules): void {
  if (isSet(rules, "len")) schema.set("minLength", Number(rules.len)).set("maxLength", Number(rules.len));
  if (isSet(rules, "minLen")) schema.set("minLength", Number(rules.minLen));
  if (isSet(rules, "maxLen")) schema.set("maxLength", Number(rules.maxLen));
  if (isSet(rules, "lenBytes")) notes.push(`Exactly ${rules.lenBytes} bytes in UTF-8.`);
  if (isSet(rules, "minBytes")) notes.push(`At least ${rules.minBytes} bytes in UTF-8.`);
  if (isSet(rules, "maxBytes")) notes.push(`At most ${rules.maxBytes} bytes in UTF-8.`);
}

function addPatterns({ schema, notes }: Shape, rules: StringRules): void {
  const patterns: string[] = [];
  if (isSet(rules, "pattern")) {
    if (isEcmaPattern(rules.pattern)) patterns.push(rules.pattern);
    else notes.push(`Must match the regular expression ${rules.pattern} (RE2).`);
  }
  if (isSet(rules, "prefix")) patterns.push(`^${escapePattern(rules.prefix)}`);
  if (isSet(rules, "suffix")) patterns.push(`${escapePattern(rules.suffix)}$`);
  if (isSet(rules, "contains")) patterns.push(escapePattern(rules.contains));
  const [first, ...others] = patterns;
  if (first !== undefined) schema.set("pattern", first);
  if (others.length > 0)
    schema.set(
      "allOf",
      others.map((pattern) => schemaOf({ pattern })),
    );
  if (isSet(rules, "notContains")) notes.push(`Must not contain ${JSON.stringify(rules.notContains)}.`);
}

function addFormat({ schema, notes }: Shape, { wellKnown }: StringRules): void {
  const format = wellKnown.value === false ? undefined : formats[wellKnown.case ?? ""];
  if (format === undefined) return;
  if (format.format !== undefined) schema.set("format", format.format);
  if (format.pattern !== undefined && !schema.has("pattern")) schema.set("pattern", format.pattern);
  if (format.note !== undefined) notes.push(format.note);
  if (wellKnown.case === "ip")
    schema.set(
      "anyOf",
      ["ipv4", "ipv6"].map((name) => schemaOf({ format: name })),
    );
}

function addValues(schema: Schema, rules: StringRules): void {
  if (isSet(rules, "const")) schema.set("const", rules.const);
  else if (rules.in.length > 0) schema.set("enum", rules.in);
  if (rules.notIn.length > 0) schema.set("not", schemaOf({ enum: rules.notIn }));
  if (rules.example.length > 0) schema.set("examples", rules.example);
}

/** The schema of bytes: a text in base64. */
export function bytesShape(rules: BytesRules | undefined, excludesZero: boolean): Shape {
  const schema = schemaOf({ type: "string", contentEncoding: "base64" });
  const notes = ["Bytes in base64."];
  if (rules !== undefined) {
    if (isSet(rules, "len")) notes.push(`Exactly ${rules.len} bytes before they are encoded.`);
    if (isSet(rules, "minLen")) notes.push(`At least ${rules.minLen} bytes before they are encoded.`);
    if (isSet(rules, "maxLen")) notes.push(`At most ${rules.maxLen} bytes before they are encoded.`);
    const encode = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
    if (isSet(rules, "const")) schema.set("const", encode(rules.const));
    else if (rules.in.length > 0) schema.set("enum", rules.in.map(encode));
    if (rules.notIn.length > 0) schema.set("not", schemaOf({ enum: rules.notIn.map(encode) }));
    if (isSet(rules, "pattern")) notes.push(`Decoded, they must match the regular expression ${rules.pattern} (RE2).`);
    if (rules.wellKnown.case !== undefined) notes.push(`Decoded, they are an address: ${rules.wellKnown.case}.`);
  }
  if (excludesZero && !schema.has("const") && !schema.has("enum")) schema.set("minLength", 4);
  return { schema, notes };
}

/** Whether a pattern for RE2 means the same in JavaScript: both know most of the syntax, but not all. */
function isEcmaPattern(pattern: string): boolean {
  // A class of POSIX's compiles, but means something else.
  if (/\[\[:\^?\w+:\]/.test(pattern)) return false;
  try {
    new RegExp(pattern, "u");
    return true;
  } catch {
    return false;
  }
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
