/**
 * Makes values.schema.json and the tables of values in README.md of the chart, both from values.yaml: the comment before a
 * value is its description, a line `@schema {…}` in it adds to the JSON schema that its default gives, and a comment
 * `@section …` begins a table.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isMap, isScalar, parse, parseDocument, type Scalar, type YAMLMap } from "yaml";

const chart = join(import.meta.dirname, "../../helm/parley");
const BEGIN = "<!-- Made from values.yaml by `npm run chart`. -->";
const END = "<!-- End of what is made. -->";

interface Value {
  readonly path: string;
  readonly description: string;
  /** As in values.yaml. */
  readonly default: unknown;
  readonly schema: Schema;
  readonly section: string;
}

interface Schema {
  type?: string | readonly string[];
  description?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: unknown;
  [keyword: string]: unknown;
}

/** All values of a mapping, the mappings among them before what they have. A mapping that is empty or free is one value. */
function* valuesOf(map: YAMLMap, prefix: string, section: { name: string }): Generator<Value> {
  for (const [index, { key, value }] of map.items.entries()) {
    const { description, schema, newSection } = readComment(commentBefore(map, index));
    if (newSection !== undefined) section.name = newSection;
    const path = `${prefix}${(key as Scalar).value}`;
    const given = isMap(value) ? value.toJSON() : (value as { toJSON(): unknown }).toJSON();
    const isFree =
      isMap(value) && (value.items.length === 0 || schema.additionalProperties !== undefined || isLeaf(value));
    const type = typeOf(given, isScalar(value));
    const full: Schema = { ...type, ...(description !== "" && { description }), ...schema };
    yield { path, description, default: given, schema: full, section: section.name };
    if (isMap(value) && !isFree) yield* valuesOf(value, `${path}.`, section);
  }
}

/** A mapping none of whose members is described is one value: objects of Kubernetes. */
function isLeaf(map: YAMLMap): boolean {
  return map.items.every((_, index) => commentBefore(map, index) === "");
}

/** That before the first key of a mapping can belong to the mapping. */
function commentBefore(map: YAMLMap, index: number): string {
  const key = map.items[index]?.key as Scalar | undefined;
  return key?.commentBefore ?? (index === 0 ? map.commentBefore : undefined) ?? "";
}

function readComment(comment: string): { description: string; schema: Schema; newSection: string | undefined } {
  const lines = comment.split("\n").map((line) => line.trim());
  const newSection = lines.find((line) => line.startsWith("@section "))?.slice("@section ".length);
  // What stands before a section, or before an empty line, is about something else.
  const own = lines.slice(lines.findLastIndex((line) => line === "" || line.startsWith("@section ")) + 1);
  const schema = own.find((line) => line.startsWith("@schema "))?.slice("@schema ".length) ?? "{}";
  return {
    description: own.filter((line) => !line.startsWith("@schema ")).join(" "),
    schema: parse(schema) as Schema,
    newSection,
  };
}

function typeOf(value: unknown, isScalarValue: boolean): Schema {
  if (Array.isArray(value)) return { type: "array" };
  if (!isScalarValue) return { type: "object" };
  if (Number.isInteger(value)) return { type: "integer" };
  return { type: value === null ? "null" : typeof value };
}

/** The schema of all values: what is not described is refused, except in values that are free. */
function schemaOf(values: readonly Value[]): Schema {
  const root: Schema = {
    $schema: "http://json-schema.org/draft-07/schema#",
    type: "object",
    additionalProperties: false,
    // Of charts that have this one as a part: what Helm gives to all parts, and the usual condition for having it.
    properties: { global: { type: "object" }, enabled: { type: "boolean" } },
  };
  const byPath = new Map([["", root]]);
  for (const { path, schema } of values) {
    const parts = path.split(".");
    const parent = byPath.get(parts.slice(0, -1).join(".")) as Schema;
    parent.properties ??= {};
    parent.additionalProperties = false;
    parent.properties[parts.at(-1) ?? ""] = schema;
    byPath.set(path, schema);
  }
  return root;
}

function tableOf(values: readonly Value[]): string {
  const hasMembers = ({ path }: Value) => values.some((other) => other.path.startsWith(`${path}.`));
  const cell = (text: string) => text.replaceAll("|", "\\|");
  return [...new Set(values.map(({ section }) => section))]
    .map((section) => {
      const rows = values
        .filter((value) => value.section === section && value.description !== "")
        .map((value) => {
          const shown = hasMembers(value) ? "" : `\`${cell(JSON.stringify(value.default))}\``;
          return `| \`${value.path}\` | ${shown} | ${cell(value.description)} |`;
        });
      return [`### ${section}`, "", "| Value | Default | |", "| --- | --- | --- |", ...rows, ""].join("\n");
    })
    .join("\n");
}

const document = parseDocument(readFileSync(join(chart, "values.yaml"), "utf8"));
const values = [...valuesOf(document.contents as YAMLMap, "", { name: "" })];
const unclear = values.filter(({ description, path }) => {
  const hasMembers = values.some((other) => other.path.startsWith(`${path}.`));
  return description === "" && !hasMembers;
});
if (unclear.length > 0) throw new Error(`without a description: ${unclear.map(({ path }) => path).join(", ")}`);
writeFileSync(join(chart, "values.schema.json"), `${JSON.stringify(schemaOf(values), undefined, 2)}\n`);
const readme = readFileSync(join(chart, "README.md"), "utf8");
const [before, rest = ""] = readme.split(BEGIN);
const [, after = ""] = rest.split(END);
writeFileSync(join(chart, "README.md"), `${before}${BEGIN}\n\n${tableOf(values)}\n${END}${after}`);
