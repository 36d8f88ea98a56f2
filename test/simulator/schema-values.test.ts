import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { z } from "zod";
import { generateValue } from "../../src/simulator/converse/schema-values.ts";

type Schema = Record<string, unknown>;

/** Schemas whose generated value is checked against the schema itself. */
const SCHEMAS: Readonly<Record<string, Schema>> = {
  "every basic type": {
    type: "object",
    properties: {
      text: { type: "string" },
      whole: { type: "integer" },
      real: { type: "number" },
      flag: { type: "boolean" },
      nothing: { type: "null" },
      list: { type: "array", items: { type: "string" } },
    },
    required: ["text", "whole", "real", "flag", "nothing", "list"],
    additionalProperties: false,
  },
  "an enum": { enum: ["red", "green"] },
  "a const": { const: 42 },
  "several types": { type: ["null", "integer"], minimum: 7 },
  "a minimum": { type: "integer", minimum: 10 },
  "a maximum": { type: "integer", maximum: -3 },
  "exclusive bounds of an integer": { type: "integer", exclusiveMinimum: 4, exclusiveMaximum: 6 },
  "exclusive bounds of a number": { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 0.5 },
  "a multiple": { type: "integer", minimum: 10, multipleOf: 7 },
  "a long string": { type: "string", minLength: 50 },
  "a short string": { type: "string", maxLength: 2 },
  "a list of three": { type: "array", minItems: 3, maxItems: 3, items: { type: "integer" } },
  "an empty list": { type: "array", maxItems: 0, items: { type: "integer" } },
  "a tuple": { type: "array", prefixItems: [{ type: "integer" }, { type: "string" }], items: false },
  "a date-time": { type: "string", format: "date-time" },
  "a date": { type: "string", format: "date" },
  "a uuid": { type: "string", format: "uuid" },
  "an email address": { type: "string", format: "email" },
  "a uri": { type: "string", format: "uri" },
  anyOf: { anyOf: [{ type: "integer" }, { type: "string" }] },
  "oneOf beside properties": {
    type: "object",
    properties: { kind: { type: "string" } },
    required: ["kind"],
    oneOf: [{ required: ["kind"], properties: { a: { type: "integer" } } }],
  },
  allOf: {
    allOf: [
      { type: "object", properties: { a: { type: "integer" } }, required: ["a"] },
      { type: "object", properties: { b: { type: "string" } }, required: ["b"] },
    ],
  },
  "a reference": {
    type: "object",
    properties: { home: { $ref: "#/$defs/address" } },
    required: ["home"],
    $defs: { address: { type: "object", properties: { zip: { type: "integer", minimum: 1000 } }, required: ["zip"] } },
  },
};

describe("generated values", () => {
  for (const [name, schema] of Object.entries(SCHEMAS)) {
    test(`fit ${name}`, () => {
      const value = generateValue(schema);
      assert.deepEqual(z.fromJSONSchema(schema as never).parse(value), value);
      assert.deepEqual(generateValue(schema), value);
    });
  }

  test("of a recursive schema come to an end where the schema lets them", () => {
    const node: Schema = {
      type: "object",
      properties: {
        value: { type: "integer" },
        next: { anyOf: [{ $ref: "#" }, { type: "null" }] },
        children: { type: "array", items: { $ref: "#" } },
      },
      required: ["value", "next", "children"],
    };
    let depth = 0;
    let current = generateValue(node) as { next: unknown } | null;
    while (current) {
      depth++;
      current = current.next as { next: unknown } | null;
    }
    assert.ok(depth > 1 && depth < 10);
  });

  test("of a schema that demands endless nesting end all the same", () => {
    assert.ok(generateValue({ type: "object", properties: { me: { $ref: "#" } }, required: ["me"] }));
  });

  const unreasonable: Readonly<Record<string, Schema>> = {
    "two branches that nest endlessly": {
      type: "object",
      properties: { left: { $ref: "#" }, right: { $ref: "#" } },
      required: ["left", "right"],
    },
    "a part that is the whole": { type: "object", allOf: [{ $ref: "#" }] },
    "a reference to itself": { $ref: "#/%zz" },
    "a list without end": { type: "array", minItems: 1e12, items: { type: "array", minItems: 1e12 } },
    "texts without end": { type: "array", minItems: 1e12, items: { type: "string", minLength: 1e12 } },
  };
  for (const [name, schema] of Object.entries(unreasonable)) {
    test(`of a schema that demands ${name} stay small`, () => {
      assert.ok(JSON.stringify(generateValue(schema)).length < 1_000_000);
    });
  }

  test("differ within a list", () => {
    const schema = { type: "array", minItems: 3, uniqueItems: true, items: { type: "string" } };
    assert.equal(new Set(generateValue(schema) as string[]).size, 3);
  });

  test("have the optional properties when none is required", () => {
    assert.deepEqual(generateValue({ type: "object", properties: { a: { type: "string" } } }), { a: "a" });
  });

  test("take a default or an example where there is one", () => {
    const properties = { a: { type: "string", default: "d" }, b: { type: "string", examples: ["e"] } };
    assert.deepEqual(generateValue({ type: "object", properties, required: ["a", "b"] }), { a: "d", b: "e" });
  });
});
