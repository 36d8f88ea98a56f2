import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { elements, members, objectText, RawJson } from "../../src/upstream/raw-json.ts";
import { jsonText, objectJsonText, stringifyExact } from "../support/json-text.ts";

test("an object taken apart and put together again has the same members, byte for byte", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string(), jsonText), { maxLength: 6 }), (entries) => {
      const unique = new Map(entries.map(([name, text]) => [name, text.trim()]));
      assert.deepEqual(members(objectText(unique)), unique);
    }),
  );
});

test("an array is taken apart into the exact texts of its elements, whatever space is between them", () => {
  fc.assert(
    fc.property(fc.array(jsonText, { maxLength: 6 }), fc.constantFrom("", " ", "\n\t"), (texts, space) => {
      const array = `${space}[${space}${texts.join(`${space},${space}`)}${space}]${space}`;
      assert.deepEqual(
        elements(array),
        texts.map((text) => text.trim()),
      );
    }),
  );
});

test("exact texts come out of a stringified value as they went in", () => {
  fc.assert(
    fc.property(objectJsonText, jsonText, fc.string(), (object, value, text) => {
      const exact = stringifyExact({ object: new RawJson(object), list: [new RawJson(value), text] });
      assert.equal(exact, `{"object":${object},"list":[${value},${JSON.stringify(text)}]}`);
    }),
  );
});

test("what is not JSON, or not of the kind that is asked for, is refused", () => {
  for (const text of ["", "{", "[1]", '"a"', "{}x", '{"a":1,}']) assert.throws(() => members(text), SyntaxError, text);
  for (const text of ["", "[", "{}", "[1,]", "null"]) assert.throws(() => elements(text), SyntaxError, text);
});
