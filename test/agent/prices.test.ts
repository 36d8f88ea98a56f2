import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { PriceTable } from "../../src/agent/prices.ts";

const prices = new PriceTable({
  plain: { input: 2, output: 10 },
  full: { input: 2, output: 10, cacheRead: 0.5, cacheWrite5m: 3, cacheWrite1h: 5 },
  free: { input: 0, output: 0 },
  third: { input: 3, output: 15 },
  "dated-20260901": { input: 1, output: 1 },
});

function usage(members: object): ReadonlyMap<string, string> {
  return new Map(Object.entries(members).map(([name, value]) => [name, JSON.stringify(value)]));
}

const written = { ephemeral_5m_input_tokens: 40, ephemeral_1h_input_tokens: 60 };
const all = { input_tokens: 10, output_tokens: 20, cache_read_input_tokens: 30, cache_creation_input_tokens: 100 };

describe("the price table", () => {
  for (const [name, { model, of, cost }] of Object.entries({
    "input and output": { model: "plain", of: { input_tokens: 10, output_tokens: 20 }, cost: 220 },
    "what a cache costs by default": { model: "plain", of: { ...all, cache_creation: written }, cost: 566 },
    "what a cache costs by the table": { model: "full", of: { ...all, cache_creation: written }, cost: 655 },
    "writes that are not split live for 5 minutes": { model: "full", of: all, cost: 535 },
    "a part of a millionth is a whole one": { model: "full", of: { cache_read_input_tokens: 1 }, cost: 1 },
    "that fractions are not rounded up when they add up to a whole": {
      model: "third",
      of: { cache_read_input_tokens: 10 },
      cost: 3,
    },
    "writes of which only a part is told to live for an hour": {
      model: "full",
      of: { cache_creation_input_tokens: 10, cache_creation: { ephemeral_1h_input_tokens: 4 } },
      cost: 38,
    },
    "writes whose sum is not told": { model: "full", of: { cache_creation: written }, cost: 420 },
    "a model by the whole of its dated name": { model: "dated-20260901", of: { output_tokens: 1 }, cost: 1 },
    "a model with a date": { model: "plain-20260901", of: { output_tokens: 1 }, cost: 10 },
    "a price of nothing": { model: "free", of: all, cost: 0 },
    "what is not told": {
      model: "plain",
      of: { output_tokens: 1, cache_creation: null, cache_read_input_tokens: null },
      cost: 10,
    },
    "a count that is none": { model: "plain", of: { input_tokens: "many", output_tokens: 1 }, cost: Infinity },
    "a count below 0": { model: "plain", of: { input_tokens: 1, output_tokens: -1 }, cost: Infinity },
    "a count that no answer can have": { model: "plain", of: { input_tokens: 2 ** 31 }, cost: Infinity },
    "a part of a token": { model: "free", of: { cache_creation: { ephemeral_1h_input_tokens: 0.5 } }, cost: Infinity },
  })) {
    test(`knows ${name}`, () => assert.equal(prices.costMicrosUsd(model, usage(of)), cost));
  }

  test("has no price for a model that it does not know", () => {
    for (const model of [
      "other",
      "plain-2",
      "plain-2026090",
      "plain-202609010",
      "plain-20260901-x",
      "pla-20260901in",
      "dated",
      "",
      "constructor",
      "__proto__",
    ]) {
      assert.equal(prices.costMicrosUsd(model, usage(all)), undefined, model);
      assert.equal(prices.outputTokensFor(model, 1_000), undefined, model);
    }
  });

  test("knows how many output tokens some money buys", () => {
    assert.equal(prices.outputTokensFor("plain", 105), 10);
    assert.equal(prices.outputTokensFor("plain-20260901", 9), 0);
    assert.equal(prices.outputTokensFor("free", 0), Number.POSITIVE_INFINITY);
  });
});

describe("prices that change", () => {
  const changing = {
    changing: [
      { from: "2026-10-01", input: 2, output: 20 },
      { from: "2027-01-01", input: 3, output: 30 },
      { input: 1, output: 10 },
    ],
    "changing-20260901": [{ from: "2026-12-01", input: 5, output: 50 }],
    coming: { from: "2026-10-01", input: 4, output: 40 },
    still: { input: 6, output: 60 },
  };
  const one = usage({ output_tokens: 1 });

  /** What one output token costs at a time, if the price is known, and how many 600 millionths of a dollar buy. */
  function at(time: string, model: string): readonly (number | undefined)[] {
    const table = new PriceTable(changing, () => Date.parse(time));
    return [table.costMicrosUsd(model, one), table.outputTokensFor(model, 600)];
  }

  for (const [time, model, cost] of [
    ["1970-01-01T00:00:00.000Z", "changing", 10],
    ["2026-09-30T23:59:59.999Z", "changing", 10],
    ["2026-10-01T00:00:00.000Z", "changing", 20],
    ["2026-12-31T23:59:59.999Z", "changing", 20],
    ["2027-01-01T00:00:00.000Z", "changing", 30],
    ["2099-01-01T00:00:00.000Z", "changing", 30],
    ["2026-10-01T00:00:00.000Z", "changing-20261001", 20],
    ["2026-11-30T23:59:59.999Z", "changing-20260901", 20],
    ["2026-12-01T00:00:00.000Z", "changing-20260901", 50],
    ["2026-09-30T23:59:59.999Z", "coming", undefined],
    ["2026-09-30T23:59:59.999Z", "coming-20260901", undefined],
    ["2026-10-01T00:00:00.000Z", "coming-20260901", 40],
    ["1969-12-31T23:59:59.999Z", "still", 60],
  ] as const) {
    test(`hold from midnight in UTC on: ${model} at ${time} has ${cost ?? "none"}`, () => {
      assert.deepEqual(at(time, model), [cost, cost === undefined ? undefined : 600 / cost]);
    });
  }

  test("do so between two answers of one process", () => {
    let now = Date.parse("2026-09-30T23:59:59.999Z");
    const table = new PriceTable(changing, () => now);
    const cost = () => ["changing", "coming"].map((model) => table.costMicrosUsd(model, one));
    assert.deepEqual(cost(), [10, undefined]);
    now += 1;
    assert.deepEqual(cost(), [20, 40]);
  });

  test("are those of models which the table names, also before they hold", () => {
    const table = new PriceTable(changing, () => 0);
    assert.deepEqual([...table.models], ["changing", "changing-20260901", "coming", "still"]);
  });
});
