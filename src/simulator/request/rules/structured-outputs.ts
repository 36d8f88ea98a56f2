import { invalidRequest } from "../../server/api-error.ts";
import { isObject } from "../schema/primitives.ts";
import type { Rule } from "./rule.ts";
import { toolPath } from "./tools.ts";

/** Limits over all schemas of a request that constrain the output (the structured outputs guide). */
const MAX_OPTIONAL_PARAMETERS = 24;
const MAX_UNION_PARAMETERS = 16;

const FORMATS = ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

const UNSUPPORTED_ANYWHERE = ["oneOf", "not", "if", "then", "else", "prefixItems", "dependentSchemas"];

const UNSUPPORTED_BY_TYPE: Readonly<Record<string, readonly string[]>> = {
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  string: ["minLength", "maxLength"],
  array: ["maxItems", "uniqueItems", "contains"],
  object: ["minProperties", "maxProperties", "patternProperties", "propertyNames"],
  boolean: [],
  null: [],
};

/** Schemas that constrain the output, of `output_config.format` and of strict tools, keep to a subset of JSON Schema. */
export const structuredOutputsRule: Rule = ({ request }) => {
  const counts = { optional: 0, unions: 0 };
  const checkSchema = (root: Record<string, unknown>, path: string) =>
    check(root, [], { root, path, counts, checked: new Set() });
  const format = request.output_config?.format;
  if (format) checkSchema(format.schema, "output_config.format.schema");
  for (const [index, tool] of (request.tools ?? []).entries()) {
    if ("input_schema" in tool && tool.strict) checkSchema(tool.input_schema, `${toolPath(tool, index)}.input_schema`);
  }
  if (counts.optional > MAX_OPTIONAL_PARAMETERS) {
    throw invalidRequest(
      `Schemas have ${counts.optional} optional parameters. At most ${MAX_OPTIONAL_PARAMETERS} are supported.`,
    );
  }
  if (counts.unions > MAX_UNION_PARAMETERS) {
    throw invalidRequest(
      `Schemas have ${counts.unions} parameters with union types. At most ${MAX_UNION_PARAMETERS} are supported.`,
    );
  }
};

/** What the check of one schema carries along. */
interface Check {
  readonly root: Record<string, unknown>;
  /** Where the schema stands in the request. */
  readonly path: string;
  readonly counts: { optional: number; unions: number };
  /** References that were followed to their end. */
  readonly checked: Set<string>;
}

function fail(message: string, { path }: Check): never {
  throw invalidRequest(message, path);
}

/** `open` holds the references being followed, to find those that lead back to themselves. */
function check(schema: unknown, open: readonly string[], all: Check): void {
  if (!isObject(schema)) fail("Every schema must be an object", all);
  if (typeof schema.$ref === "string") {
    follow(schema.$ref, open, all);
    return;
  }
  const unsupported = UNSUPPORTED_ANYWHERE.filter((keyword) => keyword in schema);
  if (unsupported.length > 0) fail(`${unsupported.join(", ")} not supported`, all);
  const types = Array.isArray(schema.type) ? schema.type : schema.type === undefined ? [] : [schema.type];
  for (const type of types) checkType(String(type), schema, open, all);
  if (Array.isArray(schema.enum) && schema.enum.some((value) => typeof value === "object" && value !== null)) {
    fail("enum values must be strings, numbers, booleans or null", all);
  }
  for (const keyword of ["anyOf", "allOf"]) {
    const branches = schema[keyword];
    if (!Array.isArray(branches)) continue;
    if (keyword === "allOf" && branches.some((branch) => isObject(branch) && "$ref" in branch)) {
      fail("allOf with $ref is not supported", all);
    }
    for (const branch of branches) check(branch, open, all);
  }
}

function checkType(type: string, schema: Record<string, unknown>, open: readonly string[], all: Check): void {
  const keywords = Object.hasOwn(UNSUPPORTED_BY_TYPE, type) ? UNSUPPORTED_BY_TYPE[type] : undefined;
  if (!keywords) fail(`Schema type '${type}' is not supported`, all);
  const unsupported = keywords.filter((keyword) => keyword in schema).sort();
  if (unsupported.length > 0) {
    const [noun, verb] = unsupported.length > 1 ? ["properties", "are"] : ["property", "is"];
    fail(`For '${type}' type, ${noun} ${unsupported.join(", ")} ${verb} not supported`, all);
  }
  if (type === "string" && typeof schema.format === "string" && !FORMATS.includes(schema.format)) {
    fail(`String format '${schema.format}' is not supported`, all);
  }
  if (type === "array") checkArray(schema, open, all);
  if (type === "object") checkObject(schema, open, all);
}

function checkArray({ minItems, items }: Record<string, unknown>, open: readonly string[], all: Check): void {
  if (minItems !== undefined && minItems !== 0 && minItems !== 1) {
    fail("For 'array' type, 'minItems' values other than 0 or 1 are not supported", all);
  }
  if (items !== undefined) check(items, open, all);
}

function checkObject(schema: Record<string, unknown>, open: readonly string[], all: Check): void {
  if (schema.additionalProperties !== false) {
    fail("For 'object' type, 'additionalProperties' must be explicitly set to false", all);
  }
  const required = Array.isArray(schema.required) ? schema.required : [];
  for (const [name, property] of Object.entries(isObject(schema.properties) ? schema.properties : {})) {
    if (!required.includes(name)) all.counts.optional++;
    if (isObject(property) && (Array.isArray(property.type) || "anyOf" in property)) all.counts.unions++;
    check(property, open, all);
  }
}

function follow(ref: string, open: readonly string[], all: Check): void {
  if (!ref.startsWith("#")) fail(`External $ref '${ref}' is not supported`, all);
  if (open.includes(ref)) fail(`Recursive schemas are not supported: '${ref}' leads back to itself`, all);
  if (all.checked.has(ref)) return;
  const target = resolvePointer(all.root, ref);
  if (target === undefined) fail(`$ref '${ref}' leads nowhere`, all);
  check(target, [...open, ref], all);
  all.checked.add(ref);
}

/** The part of a schema that a local reference such as `#/$defs/node` names. */
export function resolvePointer(root: Record<string, unknown>, ref: string): unknown {
  let target: unknown = root;
  for (const part of ref.slice(1).split("/").slice(1)) {
    const key = decodePart(part);
    const holds = (isObject(target) || Array.isArray(target)) && Object.hasOwn(target, key);
    target = holds ? (target as Record<string, unknown>)[key] : undefined;
  }
  return target;
}

function decodePart(part: string): string {
  const unescaped = part.replaceAll("~1", "/").replaceAll("~0", "~");
  try {
    return decodeURIComponent(unescaped);
  } catch {
    return unescaped;
  }
}
