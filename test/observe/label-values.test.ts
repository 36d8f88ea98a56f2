import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LabelValues } from "../../src/observe/label-values.ts";

describe("values of a label", () => {
  test("pass until there are as many as may be; those that have passed keep passing", () => {
    const values = new LabelValues({ max: 3 });
    const seen = Array.from({ length: 10_000 }, (_, index) => values.admit(`value ${index}`));
    assert.deepEqual([...new Set(seen)], ["value 0", "value 1", "value 2", "other"]);
    assert.deepEqual(
      ["value 2", "value 3", "value 0"].map((value) => values.admit(value)),
      ["value 2", "other", "value 0"],
    );
  });

  test("that are known always pass, and take no room of the others", () => {
    const long = "x".repeat(1_000);
    const values = new LabelValues({ known: ["sonnet", "opus", "sonnet", long], max: 1 });
    const before = ["sonnet", "sonnet", "opus", "haiku", "fable"].map((value) => values.admit(value));
    assert.deepEqual(before, ["sonnet", "sonnet", "opus", "haiku", "other"]);
    assert.deepEqual([values.admit("opus"), values.admit(long)], ["opus", long]);
  });

  test("of which none may pass are all other, but for those that are known", () => {
    const values = new LabelValues({ known: new Set(["sonnet"]), max: 0 });
    assert.deepEqual([values.admit("haiku"), values.admit("sonnet")], ["other", "sonnet"]);
  });

  test("that nobody vouches for pass only if they have passed before, and are not admitted by that", () => {
    const values = new LabelValues({ known: ["sonnet"], max: 1 });
    for (let index = 0; index < 100; index++) assert.equal(values.lookUp(`value ${index}`), "other");
    assert.equal(values.lookUp("sonnet"), "sonnet");
    assert.equal(values.admit("haiku"), "haiku");
    assert.equal(values.lookUp("haiku"), "haiku");
    assert.equal(values.lookUp("fable"), "other");
  });

  test("may be empty, and called like what all objects have", () => {
    const values = new LabelValues({ max: 10 });
    for (const value of ["", "__proto__", "constructor", "hasOwnProperty"]) {
      assert.equal(values.lookUp(value), "other");
      assert.equal(values.admit(value), value);
      assert.equal(values.lookUp(value), value);
    }
  });

  test("that no label should have become other, and take no room", () => {
    const values = new LabelValues({ max: 2 });
    const fit = "é".repeat(128);
    const unfit = ["x".repeat(129), "a\nb", "a\u0000", "\u007f", "\u0085", "a\ud800", "\udc00b", "other"];
    for (const value of unfit) assert.equal(values.admit(value), "other", JSON.stringify(value));
    assert.deepEqual([values.admit(fit), values.admit("😀"), values.admit("c")], [fit, "😀", "other"]);
    for (const value of unfit) assert.equal(values.lookUp(value), "other", JSON.stringify(value));
  });
});
