import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProtoSchema,
  type FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from "@bufbuild/protobuf/wkt";
import { parseImage } from "../../src/descriptors/image.ts";
import { createMessageValidator, MessageError, parseMessage } from "../../src/descriptors/message-json.ts";
import { MAX_SCHEMA_CHARACTERS, messageSchema, ShapeError } from "../../src/descriptors/message-schema.ts";

type MessageInit = MessageInitShape<typeof DescriptorProtoSchema>;

/** A registry of one file of package `huge`. */
function registryOf(file: MessageInitShape<typeof FileDescriptorProtoSchema>) {
  const set = { file: [{ name: "huge.proto", package: "huge", syntax: "proto3", ...file }] };
  return parseImage(toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, set)));
}

function messagesOf(messageType: MessageInit[]) {
  const registry = registryOf({ messageType });
  return (name: string) => {
    const desc = registry.getMessage(`huge.${name}`);
    assert.ok(desc);
    return { desc, registry, validator: createMessageValidator(registry) };
  };
}

const reference = (name: string, number: number, target: string, label = Label.OPTIONAL) => ({
  name,
  number,
  label,
  type: Type.MESSAGE,
  typeName: `.huge.${target}`,
});

const scalar = (name: string, number: number) => ({ name, number, label: Label.OPTIONAL, type: Type.INT32 });

const chain = (length: number, references: (next: string) => NonNullable<MessageInit["field"]>) =>
  Array.from({ length }, (_, index) => ({
    name: `M${index}`,
    field: index + 1 < length ? references(`M${index + 1}`) : [scalar("value", 1)],
  }));

/** The JSON of a message that is nested so often. */
const nest = (depth: number, inner: string) => `${'{"next":'.repeat(depth)}${inner}${"}".repeat(depth)}`;

function refused(act: () => unknown, problem: RegExp): ShapeError {
  let found: unknown;
  assert.throws(act, (error) => {
    found = error;
    return error instanceof ShapeError && problem.test(error.message);
  });
  return found as ShapeError;
}

describe("nesting of 500 levels", () => {
  const find = messagesOf(chain(500, (next) => [reference("next", 1, next)]));

  test("has a schema for tools, in which each message stands once", () => {
    const { desc } = find("M0");
    const schema = JSON.parse(messageSchema(desc, "tool")) as { $defs: object };
    assert.ok(Object.keys(schema.$defs).length > 50);
  });

  test("is refused as an answer, with the path of the field that is too deep", () => {
    const { path } = refused(() => messageSchema(find("M0").desc, "output"), /nested deeper than 32 levels/);
    assert.equal(path.split(".").length, 32);
  });

  test("can be read as deep as protobuf's parser goes, and what is wrong there is told", () => {
    const { desc, registry, validator } = find("M480");
    parseMessage(desc, nest(19, '{"value":1}'), registry, validator);
    const path = Array.from({ length: 19 }, () => "next").join(".");
    assert.throws(
      () => parseMessage(desc, nest(19, '{"value":true}'), registry, validator),
      (error) => error instanceof MessageError && error.problems[0]?.path === `${path}.value`,
    );
    const { desc: root } = find("M0");
    assert.throws(() => parseMessage(root, nest(499, "{}"), registry, validator), /nested deeper than 100/);
  });
});

test("a chain of 20,000 messages neither hangs nor overflows the stack", () => {
  const find = messagesOf(chain(20_000, (next) => [reference("next", 1, next)]));
  const { desc } = find("M0");
  refused(() => messageSchema(desc, "tool"), new RegExp(`more than ${MAX_SCHEMA_CHARACTERS} characters`));
  refused(() => messageSchema(desc, "output"), /nested deeper/);
});

test("messages that are shared by many ways stand in the schema once", () => {
  const find = messagesOf(chain(30, (next) => [reference("left", 1, next), reference("right", 2, next)]));
  const { desc } = find("M0");
  const text = messageSchema(desc, "tool");
  assert.equal(text.match(/"huge\.M7":/g)?.length, 1);
  assert.ok(text.length < 10_000);
  // An answer may leave out 24 fields, and have null in 16 others.
  refused(() => messageSchema(desc, "output"), /too many fields may be left out/);
  assert.ok(messageSchema(find("M10").desc, "output").length < 10_000);
});

test("thousands of messages that all refer to each other are refused for their size", () => {
  const names = Array.from({ length: 2_000 }, (_, index) => `M${index}`);
  const field = names.slice(0, 20).map((name, index) => reference(`f${index}`, index + 1, name, Label.REPEATED));
  const find = messagesOf(
    names.map((name, index) => ({
      name,
      field: [...field, reference("next", 100, names[(index + 1) % names.length] ?? "")],
    })),
  );
  refused(() => messageSchema(find("M0").desc, "tool"), /the message is too large/);
  refused(() => messageSchema(find("M0").desc, "output"), /nested in itself/);
});

test("a message of 10,000 fields is refused for its size, and one of 1,000 is not", () => {
  const find = messagesOf(
    [1_000, 10_000].map((count) => ({
      name: `Wide${count}`,
      field: Array.from({ length: count }, (_, index) => scalar(`field_${index}`, index + 1)),
    })),
  );
  for (const dialect of ["tool", "output"] as const) {
    assert.ok(messageSchema(find("Wide1000").desc, dialect).length < MAX_SCHEMA_CHARACTERS);
    refused(() => messageSchema(find("Wide10000").desc, dialect), /the message is too large/);
  }
  const { desc, registry, validator } = find("Wide10000");
  const json = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`field_${index}`, "x"]));
  assert.throws(
    () => parseMessage(desc, JSON.stringify(json), registry, validator),
    (error) => error instanceof MessageError && error.problems.length === 100,
  );
});

test("an enum of 50,000 values is refused for its size, and one of 1,000 stands in the schema once", () => {
  const enumOf = (count: number) => ({
    name: `E${count}`,
    value: Array.from({ length: count }, (_, number) => ({ name: `E${count}_VALUE_${number}`, number })),
  });
  const registry = registryOf({
    enumType: [1_000, 50_000].map(enumOf),
    messageType: [1_000, 50_000].map((count) => ({
      name: `M${count}`,
      field: ["a", "b", "c"].map((name, index) => ({
        name,
        number: index + 1,
        label: Label.OPTIONAL,
        type: Type.ENUM,
        typeName: `.huge.E${count}`,
      })),
    })),
  });
  const desc = (name: string) => {
    const found = registry.getMessage(name);
    assert.ok(found);
    return found;
  };
  const text = messageSchema(desc("huge.M1000"), "tool");
  assert.equal(text.match(/"E1000_VALUE_999"/g)?.length, 1);
  refused(() => messageSchema(desc("huge.M50000"), "tool"), /the message is too large/);
});

test("a oneof of many fields is an answer, too, whose choice words tell", () => {
  const find = messagesOf([
    {
      name: "Choice",
      oneofDecl: [{ name: "choice" }],
      field: Array.from({ length: 20 }, (_, index) => ({ ...scalar(`f${index}`, index + 1), oneofIndex: 0 })),
    },
  ]);
  const { desc } = find("Choice");
  const schema = JSON.parse(messageSchema(desc, "output")) as { type: string; description: string };
  assert.equal(schema.type, "object");
  assert.match(schema.description, /^At most one of these may be set: f0, f1, /);
});

test("a long comment is cut", () => {
  const registry = registryOf({
    messageType: [{ name: "Told", field: [scalar("value", 1)] }],
    sourceCodeInfo: { location: [{ path: [4, 0], span: [0, 0, 0], leadingComments: "x".repeat(100_000) }] },
  });
  const desc = registry.getMessage("huge.Told");
  assert.ok(desc);
  const { description } = JSON.parse(messageSchema(desc, "tool")) as { description: string };
  assert.equal(description.length, 1_000);
  assert.ok(description.endsWith("…"));
});
