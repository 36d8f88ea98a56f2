/** A generator of numbers from 0 up to but not including 1, the same for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

type Mutation = (bytes: Buffer, below: (bound: number) => number) => Buffer;

const NUMBERS = ["0", "-1", "1.5", "1e99", "2147483648", "18446744073709551616", "null", '"x"', "[]", "{}"];
const TEXTS = ["\0", "\r\n", "\xff", '"', "{", "}", "[", "\\", "\\ud800", "%00", ":", "\x80\x00\x00\x00\x00"];

/** A slice of the bytes: mostly a short one. */
function slice(bytes: Buffer, below: (bound: number) => number): readonly [start: number, end: number] {
  const start = below(bytes.length + 1);
  return [start, Math.min(bytes.length, start + 1 + below(below(8) === 0 ? bytes.length : 8))];
}

const mutations: readonly Mutation[] = [
  function flipBit(bytes, below) {
    const flipped = Buffer.from(bytes);
    const position = below(bytes.length);
    flipped[position] = (flipped[position] ?? 0) ^ (1 << below(8));
    return flipped;
  },
  function setByte(bytes, below) {
    const set = Buffer.from(bytes);
    set[below(bytes.length)] = [0, 1, 0x7f, 0x80, 0xff][below(5)] ?? 0;
    return set;
  },
  function remove(bytes, below) {
    const [start, end] = slice(bytes, below);
    return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)]);
  },
  function insert(bytes, below) {
    const position = below(bytes.length + 1);
    const inserted =
      below(2) === 0
        ? Buffer.from(TEXTS[below(TEXTS.length)] ?? "", "latin1")
        : Buffer.from(Array.from({ length: 1 + below(16) }, () => below(256)));
    return Buffer.concat([bytes.subarray(0, position), inserted, bytes.subarray(position)]);
  },
  function duplicate(bytes, below) {
    const [start, end] = slice(bytes, below);
    return Buffer.concat([bytes.subarray(0, end), bytes.subarray(start)]);
  },
  function truncate(bytes, below) {
    return bytes.subarray(0, below(bytes.length));
  },
  function swapNumber(bytes, below) {
    const numbers = [...bytes.toString("latin1").matchAll(/-?\d+/g)];
    const chosen = numbers[below(numbers.length)];
    if (chosen === undefined) return bytes;
    const number = Buffer.from(NUMBERS[below(NUMBERS.length)] ?? "");
    return Buffer.concat([bytes.subarray(0, chosen.index), number, bytes.subarray(chosen.index + chosen[0].length)]);
  },
];

/** The bytes with one to three things wrong, the same for the same seed. */
export function mutate(bytes: Buffer, seed: number): Buffer {
  const random = createRandom(seed);
  const below = (bound: number) => Math.floor(random() * bound);
  let mutated = bytes;
  for (let times = 1 + below(3); times > 0; times--) {
    if (mutated.length > 0) mutated = mutations[below(mutations.length)]?.(mutated, below) ?? mutated;
  }
  return mutated;
}
