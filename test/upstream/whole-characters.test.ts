import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseEvent } from "../../src/upstream/stream-event.ts";
import { WholeCharacters } from "../../src/upstream/whole-characters.ts";

function deltaEvent(text: string, index = 0) {
  return parseEvent(JSON.stringify({ type: "content_block_delta", index, delta: { type: "text_delta", text } }));
}

const stop = parseEvent('{"type":"content_block_stop","index":0}');

/** What comes out of a block whose text comes in these pieces. */
function textsOf(pieces: readonly string[]): string[] {
  const characters = new WholeCharacters();
  return [...pieces.map((text) => deltaEvent(text)), stop]
    .flatMap((event) => (characters.passes(event) ? [event] : characters.take(event)))
    .map(({ event }) => (event.type === "content_block_delta" ? (event.delta as { text: string }).text : ""));
}

test("a character that is cut in two between deltas comes out whole, wherever a text is cut", () => {
  const text = fc.string({ unit: "binary" });
  fc.assert(
    fc.property(text, fc.array(fc.nat(30)), (whole, cuts) => {
      const bounds = [0, ...cuts.filter((cut) => cut < whole.length).sort((a, b) => a - b), whole.length];
      const pieces = bounds.slice(1).map((end, place) => whole.slice(bounds[place], end));
      const texts = textsOf(pieces);
      assert.equal(texts.join(""), whole);
      for (const piece of texts) assert.ok(piece.isWellFormed(), JSON.stringify(piece));
    }),
  );
});

test("half a character that is never completed is not lost, nor does it take another block's", () => {
  assert.deepEqual(textsOf(["a\ud83d"]), ["a", "\ud83d", ""]);
  assert.deepEqual(textsOf(["a\ud83d", "b"]), ["a", "\ud83db", ""]);
  const characters = new WholeCharacters();
  assert.deepEqual(characters.take(deltaEvent("\ud83d", 0)), []);
  const events = characters.take(deltaEvent("\ude00", 1)).map(({ event }) => event);
  assert.deepEqual(events, [deltaEvent("\ud83d", 0).event, deltaEvent("\ude00", 1).event]);
});
