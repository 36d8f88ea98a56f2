import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { messageText, parseMessage } from "../../src/descriptors/message-json.ts";
import { ShapeError } from "../../src/descriptors/message-schema.ts";
import { loadMessageTypes, type MessageTypes } from "../../src/descriptors/message-types.ts";
import { buildImage, type DescriptorImage } from "../support/descriptor-image.ts";
import { valuesOf } from "../support/schema-values.ts";

let image: DescriptorImage;
let types: MessageTypes;
before(async () => {
  image = await buildImage("test/descriptors/fixtures");
  types = loadMessageTypes([image.path]);
});
after(() => image[Symbol.asyncDispose]());

interface Schema {
  readonly [keyword: string]: unknown;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
}

const schemaOf = (name: string, dialect: "tool" | "output" = "tool") =>
  JSON.parse(types.schema(`shapes.${name}`, dialect)) as Schema;

const parse = (name: string, text: string) => {
  const type = types.find(`shapes.${name}`);
  assert.ok(type);
  return parseMessage(type.desc, text, type.registry, type.validator);
};

describe("values that fit the schema of a tool's arguments are messages", () => {
  const names = [
    "v1.Scalars",
    "v1.Optional",
    "v1.Enums",
    "v1.Repeated",
    "v1.Point",
    "v1.Maps",
    "v1.Nested",
    "v1.Tree",
    "v1.Leaf",
    "v1.Oneofs",
    "v1.Choice",
    "v1.RuledOneof",
    "v1.WellKnown",
    "v1.Wrappers",
    "v1.Dynamic",
    "v1.Names",
    "v1.Numbers",
    "v1.Texts",
    "v1.Lists",
    "v1.Order",
    "legacy.Legacy",
    "editions.Editions",
  ];
  for (const name of names) {
    test(name, () => {
      const type = types.find(`shapes.${name}`);
      assert.ok(type);
      const { desc, registry, validator } = type;
      fc.assert(
        fc.property(valuesOf(types.schema(`shapes.${name}`, "tool")), (value) => {
          const message = parseMessage(desc, JSON.stringify(value), registry, validator);
          // It can be sent, and its own JSON is the same message.
          const bytes = toBinary(desc, message);
          const again = parseMessage(desc, messageText(desc, message, registry), registry, validator);
          assert.deepEqual(toBinary(desc, again), bytes);
        }),
        { numRuns: 200 },
      );
    });
  }
});

describe("values that fit the schema of an answer are messages", () => {
  const names = [
    "v1.Optional",
    "v1.Enums",
    "v1.Point",
    "v1.Nested",
    "v1.Oneofs",
    "v1.Choice",
    "v1.Names",
    "editions.Editions",
  ];
  for (const name of names) {
    test(name, () => {
      fc.assert(
        fc.property(valuesOf(types.schema(`shapes.${name}`, "output")), (value) => {
          parse(name, JSON.stringify(value));
        }),
        { numRuns: 200 },
      );
    });
  }
});

describe("a shape that structured outputs cannot hold is refused with the path of its field", () => {
  const rows: Record<string, readonly [path: string, problem: RegExp]> = {
    "v1.Tree": ["children", /shapes.v1.Tree is nested in itself/],
    "v1.Leaf": ["tree.children", /shapes.v1.Tree is nested in itself/],
    "v1.Maps": ["texts", /a map can have any keys/],
    "v1.Dynamic": ["object", /google.protobuf.Struct can hold anything/],
    "legacy.Legacy": ["parent", /nested in itself/],
  };
  for (const [name, [path, problem]] of Object.entries(rows)) {
    test(name, () => {
      assert.throws(
        () => schemaOf(name, "output"),
        (error) => error instanceof ShapeError && error.path === path && problem.test(error.message),
      );
    });
  }
});

test("a type whose JSON is no object can be neither arguments nor an answer", () => {
  for (const dialect of ["tool", "output"] as const) {
    assert.throws(() => types.schema("google.protobuf.Timestamp", dialect), ShapeError);
  }
});

test("the same text is made each time, and a schema is made once", async () => {
  const other = loadMessageTypes([image.path]);
  for (const name of types.names().filter((one) => one.startsWith("shapes."))) {
    const text = types.schema(name, "tool");
    assert.equal(other.schema(name, "tool"), text);
    assert.equal(types.schema(name, "tool"), text);
  }
});

test("comments become descriptions: of messages, fields, enums and their values", () => {
  const { $defs } = schemaOf("v1.Enums");
  assert.equal(
    $defs?.["shapes.v1.Color"]?.description,
    "What a thing looks like.\nCOLOR_UNSPECIFIED: Not known.\nCOLOR_RED: Like blood.",
  );
  const scalars = schemaOf("v1.Scalars");
  assert.equal(scalars.description, "All scalar types.");
  assert.equal(scalars.properties?.text?.description, "A text.\nIn two lines.");
});

test("a comment is told beside a reference, and of an answer, where it cannot, by the message that it is in", () => {
  assert.deepEqual(schemaOf("v1.Nested").properties?.from, {
    $ref: "#/$defs/shapes.v1.Point",
    description: "Where it begins.",
  });
  const output = schemaOf("v1.Nested", "output");
  assert.deepEqual(output.properties?.from, { $ref: "#/$defs/shapes.v1.Point" });
  assert.equal(output.description, "from: Where it begins.\nto: Where it ends.");
});

test("without source info there are no descriptions but those that rules and types make", async () => {
  await using bare = await buildImage("test/descriptors/fixtures", "--exclude-source-info");
  const text = loadMessageTypes([bare.path]).schema("shapes.v1.Nested", "tool");
  assert.doesNotMatch(text, /description/);
});

test("what no keyword can say is said in words", () => {
  const { description, properties } = schemaOf("v1.Told");
  assert.equal(description, "What only words can tell.\nIt ends after it has begun.");
  assert.equal(properties?.word?.description, "A word without z.");
  assert.equal(properties?.legacy?.description, "Deprecated.");
  assert.equal(properties?.re2?.description, "Must match the regular expression ^\\pN*\\z (RE2).");
  assert.match(properties?.key?.description ?? "", /At most 4 bytes/);
  assert.equal(properties?.due?.description, "In the future.");
});

test("what structured outputs refuse as a keyword is told in words", () => {
  const { properties } = schemaOf("v1.Order", "output").anyOf?.[0] ?? {};
  assert.deepEqual(properties?.customer, { type: "string", description: "{minLength: 1}" });
});

test("the values of an enum are those that the rules allow", () => {
  const { properties, required } = schemaOf("v1.Enums");
  assert.deepEqual(properties?.known?.enum, ["COLOR_RED", "COLOR_GREEN", "COLOR_BLUE"]);
  assert.deepEqual(properties?.some?.enum, ["COLOR_RED", "COLOR_BLUE"]);
  assert.deepEqual(properties?.only?.enum, ["COLOR_GREEN"]);
  assert.deepEqual(properties?.required?.enum, ["COLOR_RED", "COLOR_GREEN", "COLOR_BLUE"]);
  assert.deepEqual(properties?.alias?.enum, ["ALIAS_ZERO", "ALIAS_ONE"]);
  assert.deepEqual(required, ["known", "some", "only", "required"]);
});

test("fields are required whose absence breaks a rule, also where the rule does not say so", () => {
  assert.deepEqual(schemaOf("v1.Lists").required, ["some", "required", "colors"]);
  assert.deepEqual(schemaOf("legacy.Legacy").required, ["name", "level"]);
  assert.deepEqual(schemaOf("editions.Editions").required, ["required"]);
});

test("the schema of a tool's arguments is an object without a choice at its top level, which Claude refuses", () => {
  for (const name of types.names().filter((one) => one.startsWith("shapes."))) {
    const schema = JSON.parse(types.schema(name, "tool")) as Schema;
    assert.equal(schema.type, "object");
    for (const keyword of ["oneOf", "anyOf", "allOf"]) assert.ok(!(keyword in schema), `${name} ${keyword}`);
  }
});
