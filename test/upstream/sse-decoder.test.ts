import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SseDecoder } from "../../src/upstream/sse-decoder.ts";

const encoder = new TextEncoder();

function decode(pieces: readonly Uint8Array[]): string[] {
  const decoder = new SseDecoder();
  const events: string[] = [];
  for (const piece of pieces) decoder.decode(piece, (event) => events.push(event));
  return events;
}

function decodeInPieces(bytes: Uint8Array, cuts: readonly number[]): string[] {
  const bounds = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return decode(bounds.slice(1).map((end, index) => bytes.subarray(bounds[index], end)));
}

const line = fc.string({ unit: "grapheme", maxLength: 12 }).map((text) => text.replace(/[\r\n]/g, "é"));

test("events are the same wherever the bytes are cut, and whatever ends the lines", () => {
  const event = fc.record({ name: line, data: fc.array(line, { minLength: 1, maxLength: 3 }) });
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 5 }),
      fc.constantFrom("\n", "\r\n", "\r"),
      fc.array(fc.nat(), { maxLength: 8 }),
      (events, end, cuts) => {
        const text = events
          .map(({ name, data }) => [`event: ${name}`, ...data.map((part) => `data: ${part}`), "", ""].join(end))
          .join("");
        assert.deepEqual(
          decodeInPieces(encoder.encode(text), cuts),
          events.map(({ data }) => data.join("\n")),
        );
      },
    ),
  );
});

const cases: Record<string, { text: string; events: string[] }> = {
  "comments and unknown fields are passed over": {
    text: ": hello\nid: 7\nretry: 9\nevent: a\ndata: b\n\n",
    events: ["b"],
  },
  "only one space after the colon is dropped, and none is needed": {
    text: "event:a\ndata:  b\n\n",
    events: [" b"],
  },
  "an event without data is not delivered": { text: "event: a\n\ndata: b\n\n", events: ["b"] },
  "a field without a colon is empty": { text: "event: a\ndata\n\n", events: [""] },
  "a byte order mark at the start is dropped": { text: "\uFEFFdata: a\n\n", events: ["a"] },
  "an event that is not finished is not delivered": { text: "data: a\n\ndata: b\n", events: ["a"] },
};

for (const [name, { text, events }] of Object.entries(cases)) {
  test(name, () => assert.deepEqual(decode([encoder.encode(text)]), events));
}

test("bytes that are not UTF-8 are refused, after the events before them", () => {
  const bytes = Buffer.concat([encoder.encode("data: a\n\ndata: "), Uint8Array.of(0xff, 0x0a, 0x0a)]);
  const events: string[] = [];
  assert.throws(() => new SseDecoder().decode(bytes, (event) => events.push(event)), TypeError);
  assert.deepEqual(events, ["a"]);
});
