import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { toJson } from "@bufbuild/protobuf";
import { MessageError, messageText, parseMessage } from "../../src/descriptors/message-json.ts";
import { loadMessageTypes, type MessageTypes } from "../../src/descriptors/message-types.ts";
import { buildImage, type DescriptorImage } from "../support/descriptor-image.ts";

let image: DescriptorImage;
let types: MessageTypes;
before(async () => {
  image = await buildImage("test/descriptors/fixtures");
  types = loadMessageTypes([image.path]);
});
after(() => image[Symbol.asyncDispose]());

function parse(name: string, text: string) {
  const type = types.find(`shapes.${name}`);
  assert.ok(type);
  return parseMessage(type.desc, text, type.registry, type.validator);
}

/** The JSON of the message that a text is read as. */
function roundTrip(name: string, text: string): unknown {
  const type = types.find(`shapes.${name}`);
  assert.ok(type);
  const message = parse(name, text);
  assert.deepEqual(
    JSON.parse(messageText(type.desc, message, type.registry)),
    toJson(type.desc, message, { registry: type.registry }),
  );
  return toJson(type.desc, message, { registry: type.registry });
}

const item = (more: object = {}) => ({ sku: "a", quantity: 1, ...more });
const order = (more: object = {}) => ({ customer: "c", items: [item()], ...more });

describe("what is wrong is told with its path", () => {
  const rows: Record<string, readonly [name: string, json: unknown, problems: Record<string, RegExp>]> = {
    "another type": ["v1.Scalars", { text: 1 }, { text: /^must be a string, but is a number$/ }],
    "null in a list": ["v1.Repeated", { texts: ["a", null] }, { "texts[1]": /^must be a string, but is null$/ }],
    "no object": ["v1.Scalars", [1], { "": /^must be an object, but is an array$/ }],
    "null for the whole": ["v1.Scalars", null, { "": /^must be an object, but is null$/ }],
    "a nested value": [
      "v1.Order",
      order({ items: [item(), item({ quantity: "x" })] }),
      {
        "items[1].quantity": /^must be an integer from 0 to 4294967295, but is a string$/,
      },
    ],
    "a number out of range": ["v1.Scalars", { int32: 2147483648 }, { int32: /^must be an integer from -2147483648/ }],
    "a fraction": ["v1.Scalars", { int64: 1.5 }, { int64: /^must be an integer of 64 bits, as a string or a number$/ }],
    "too large a float": ["v1.Scalars", { float: 1e300 }, { float: /fits into 32 bits/ }],
    "no base64": ["v1.Scalars", { bytes: "%" }, { bytes: /^must be a string in base64/ }],
    "an unknown field": [
      "v1.Nested",
      { inner: { deeper: { texts: "" } } },
      {
        "inner.deeper.texts": /^is unknown: the fields here are text$/,
      },
    ],
    "an unknown field of an empty message": [
      "v1.WellKnown",
      { empty: { a: 1 } },
      {
        "empty.a": /^is unknown: there are no fields here$/,
      },
    ],
    "several at once": [
      "v1.Nested",
      { from: { x: "x" }, to: [], no: 1 },
      {
        "from.x": /^must be a number/,
        to: /^must be an object, but is an array$/,
        no: /^is unknown: the fields here are from, to, inner$/,
      },
    ],
    "an unknown value of an enum": [
      "v1.Enums",
      { color: "PINK" },
      {
        color: /^must be one of COLOR_UNSPECIFIED, COLOR_RED, COLOR_GREEN, COLOR_BLUE$/,
      },
    ],
    "a value of an enum in a list": ["v1.Enums", { colors: ["COLOR_RED", true] }, { "colors[1]": /^must be one of/ }],
    "no list": ["v1.Repeated", { points: {} }, { points: /^must be an array, but is an object$/ }],
    "no map": ["v1.Maps", { texts: [] }, { texts: /^must be an object, but is an array$/ }],
    "a value of a map": ["v1.Maps", { texts: { "a b": 1 } }, { 'texts["a b"]': /^must be a string, but is a number$/ }],
    "a message in a map": ["v1.Maps", { longs: { 7: { z: 1 } } }, { 'longs["7"].z': /^is unknown/ }],
    "a key of a map": ["v1.Maps", { ints: { a: "b" } }, { 'ints["a"]': /^must have a key that is an integer/ }],
    "a key of a map of messages": ["v1.Maps", { longs: { a: {} } }, { 'longs["a"]': /^must have a key/ }],
    "the same key twice": ["v1.Maps", { longs: { "1": {}, "01": {} } }, { longs: /same key twice/ }],
    "two members of a oneof": [
      "v1.Oneofs",
      { text: "a", number: 1 },
      {
        number: /^must not be set beside another one of text, number, point, color$/,
      },
    ],
    "both names of a field": ["v1.Names", { snakeCase: "a", snake_case: "b" }, { snake_case: /by both of its names/ }],
    "no time": ["v1.WellKnown", { times: ["2026-01-01"] }, { "times[0]": /^must be a string with a time/ }],
    "no duration": ["v1.WellKnown", { duration: 3 }, { duration: /^must be a string with seconds/ }],
    "no field mask": ["v1.WellKnown", { mask: "a_b" }, { mask: /lowerCamelCase/ }],
    "no wrapper": ["v1.Wrappers", { int32: {} }, { int32: /^must be an integer from/ }],
    "an Any without its type": ["v1.Dynamic", { any: { a: 1 } }, { "any.@type": /^must be the name of a type/ }],
    "an Any of an unknown type": ["v1.Dynamic", { any: { "@type": "x/y.Z" } }, { "any.@type": /that is known/ }],
    "what is in an Any": [
      "v1.Dynamic",
      { any: { "@type": "type.googleapis.com/shapes.v1.Nested", from: { x: true } } },
      { "any.from.x": /^must be a number, but is a boolean$/ },
    ],
    "a name that is no identifier": [
      "v1.Names",
      { "x-renamed": 1, "für Menschen": 2 },
      {
        "x-renamed": /^must be a string/,
        '["für Menschen"]': /^must be a string/,
      },
    ],
    "a broken rule": ["v1.Order", order({ customer: "" }), { customer: /at least 1 character/ }],
    "a broken rule of a field that JSON calls otherwise": [
      "v1.Numbers",
      { positive: 1, some: 1, notSome: 1, constant: 1.5, longSome: 1, required: 1, yes: true },
      { notSome: /must not be in list/ },
    ],
    "a broken rule in a list": [
      "v1.Order",
      order({ items: [item(), item({ quantity: 0 })] }),
      {
        "items[1].quantity": /greater than or equal to 1/,
      },
    ],
    "a required oneof": [
      "v1.Order",
      order({ items: [item({ choice: {} })] }),
      { "items[0].choice": /exactly one field/ },
    ],
    "a missing field of proto2": ["legacy.Legacy", { level: "LEVEL_LOW" }, { name: /required/ }],
    "a rule of a value of a map": ["v1.Maps", { ruled: { a: 0 } }, { 'ruled["a"]': /greater than 0/ }],
    "a rule of a key of a map": ["v1.Maps", { ruled: { A: 1 } }, { 'ruled["A"]': /does not match/ }],
    "a rule of a wrapper": ["v1.Wrappers", { ruled: 6 }, { ruled: /greater than or equal to 7/ }],
    "a rule of the message": ["v1.Told", { start: 2, end: 1 }, { "": /^It ends after it has begun.$/ }],
    "an expression": ["v1.Told", { word: "zoo" }, { word: /^A word without z.$/ }],
    "a rule of an Any": [
      "v1.Dynamic",
      { any: { "@type": "type.googleapis.com/google.protobuf.Empty" } },
      { any: /type URL must be in the allow list/ },
    ],
  };
  for (const [what, [name, json, problems]] of Object.entries(rows)) {
    test(what, () => {
      assert.throws(
        () => parse(name, JSON.stringify(json)),
        (error) => {
          assert.ok(error instanceof MessageError, String(error));
          const told = Object.fromEntries(error.problems.map(({ path, description }) => [path, description]));
          assert.deepEqual(Object.keys(told), Object.keys(problems), error.message);
          for (const [path, pattern] of Object.entries(problems)) assert.match(told[path] ?? "", pattern);
          return true;
        },
      );
    });
  }
});

test("a text that is no JSON is told as such, and not quoted", () => {
  for (const text of ["", "{", "secret", '{"text":}']) {
    assert.throws(() => parse("v1.Scalars", text), { name: "MessageError", message: "must be valid JSON" });
  }
});

test("values are never quoted", () => {
  for (const json of [{ text: 7777 }, { int32: "secret" }, { bytes: "%secret" }, { flag: "secret" }]) {
    assert.throws(
      () => parse("v1.Scalars", JSON.stringify(json)),
      ({ message }: Error) => !/secret|7777/.test(message),
    );
  }
});

test("of a thousand problems some are told", () => {
  const texts = Array.from({ length: 1_000 }, (_, index) => index);
  assert.throws(
    () => parse("v1.Repeated", JSON.stringify({ texts })),
    (error) => error instanceof MessageError && error.problems.length === 100 && error.message.length < 500,
  );
});

test("integers of 64 bits stay exact, written as strings or as numbers", () => {
  const text =
    '{"int64":-9223372036854775808,"uint64":18446744073709551615,"sint64":"9223372036854775807","double":12345678901234567890}';
  assert.deepEqual(roundTrip("v1.Scalars", text), {
    int64: "-9223372036854775808",
    uint64: "18446744073709551615",
    sint64: "9223372036854775807",
    double: 12345678901234567000,
  });
  assert.deepEqual(roundTrip("v1.Repeated", '{"longs":[9007199254740993]}'), { longs: ["9007199254740993"] });
  assert.deepEqual(roundTrip("v1.Wrappers", '{"uint64":9007199254740993}'), { uint64: "9007199254740993" });
  assert.deepEqual(roundTrip("v1.Maps", '{"bools":{"true":9007199254740993},"ruled":{"a":1}}'), {
    bools: { true: "9007199254740993" },
    ruled: { a: 1 },
  });
  assert.deepEqual(roundTrip("v1.Dynamic", '{"object":{"a":9007199254740993},"value":9007199254740993}'), {
    object: { a: 9007199254740992 },
    value: 9007199254740992,
  });
  assert.throws(() => parse("v1.Scalars", '{"int64":9223372036854775808}'), /int64: must be an integer of 64 bits/);
});

test("both names of a field, numbers of enums, and null are accepted, as protobuf's JSON mapping has them", () => {
  assert.deepEqual(roundTrip("v1.Names", '{"snake_case":"a","renamed":"b"}'), { snakeCase: "a", "x-renamed": "b" });
  assert.deepEqual(roundTrip("v1.Optional", '{"color":1,"text":null}'), { color: "COLOR_RED" });
  assert.deepEqual(roundTrip("v1.Scalars", '{"double":"NaN","float":"-Infinity"}'), {
    double: "NaN",
    float: "-Infinity",
  });
});

test("a field called __proto__ is a field like others", () => {
  assert.deepEqual(JSON.stringify(roundTrip("v1.Names", '{"__proto__":"a"}')), '{"__proto__":"a"}');
  assert.throws(() => parse("v1.Point", '{"__proto__":{"x":1}}'), /__proto__: is unknown/);
});

test("what is nested without end is refused, not followed", () => {
  const deep = `${'{"children":['.repeat(200)}{}${"]}".repeat(200)}`;
  assert.throws(() => parse("v1.Tree", deep), /must not be nested deeper than 100 messages/);
  const deeper = `${"[".repeat(1_000_000)}${"]".repeat(1_000_000)}`;
  assert.throws(() => parse("v1.Tree", deeper), MessageError);
  assert.throws(() => parse("v1.Dynamic", `{"value":${deeper}}`), MessageError);
  assert.throws(() => parse("v1.Dynamic", `{"value":[1234567890123456789,${deeper}]}`), MessageError);
});
