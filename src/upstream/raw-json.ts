/**
 * Exact JSON text inside values that are otherwise parsed.
 *
 * `JSON.parse` and `JSON.stringify` are not a round trip: large integers, `1.0`, and the order of keys such as `"10"`
 * and `"2"` change. What Claude wrote, or a caller wrote for Claude, must arrive byte for byte: a changed prefix misses
 * the prompt cache, and a changed thinking block is refused. So such parts are never parsed, only carried.
 */
export class RawJson {
  /** Exact text of one JSON value. Must be valid: it is spliced into larger texts. */
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** A stand-in that `restoreRawJson` finds again in the text that `JSON.stringify` makes. */
  toJSON(): string {
    return MARK + this.text + MARK;
  }
}

/**
 * No text that comes from outside can hold the mark: it is drawn anew in each process. Its characters pass through
 * `JSON.stringify` unescaped.
 */
const MARK = `raw:${crypto.randomUUID()}:`;
const MARKED_STRING = new RegExp(`"${MARK}(.*?)${MARK}"`, "gs");

/** Puts the exact texts of all RawJson values back into what `JSON.stringify` made of a value that holds them. */
export function restoreRawJson(text: string): string {
  if (!text.includes(MARK)) return text;
  return text.replace(MARKED_STRING, (_, escaped: string) => JSON.parse(`"${escaped}"`) as string);
}

/**
 * The members of a JSON object, each with the exact text of its value, in their order. Of a repeated key the last value
 * counts, as in `JSON.parse`.
 *
 * @throws {SyntaxError} when the text is no JSON object.
 */
export function members(objectText: string): Map<string, string> {
  const found = new Map<string, string>();
  split(objectText, "{", (text, start, end) => {
    const keyEnd = skipString(text, start);
    const valueStart = skipSpace(text, skipSpace(text, keyEnd) + 1);
    found.set(JSON.parse(text.slice(start, keyEnd)) as string, text.slice(valueStart, end));
  });
  return found;
}

/**
 * The exact texts of the elements of a JSON array.
 *
 * @throws {SyntaxError} when the text is no JSON array.
 */
export function elements(arrayText: string): string[] {
  const found: string[] = [];
  split(arrayText, "[", (text, start, end) => found.push(text.slice(start, end)));
  return found;
}

/** Puts an object together from members whose values are exact JSON texts. */
export function objectText(entries: Iterable<readonly [key: string, valueText: string]>): string {
  const parts: string[] = [];
  for (const [key, text] of entries) parts.push(`${JSON.stringify(key)}:${text}`);
  return `{${parts.join(",")}}`;
}

/** Calls back with the bounds of each item of an object or array, without the space around it. */
function split(source: string, opening: "{" | "[", item: (text: string, start: number, end: number) => void): void {
  JSON.parse(source);
  const text = source.trim();
  if (text[0] !== opening) throw new SyntaxError(opening === "{" ? "not a JSON object" : "not a JSON array");
  let position = skipSpace(text, 1);
  while (position < text.length - 1) {
    const start = position;
    for (let depth = 0; ; ) {
      const character = text[position];
      if (character === '"') {
        position = skipString(text, position);
        continue;
      }
      if (character === "{" || character === "[") depth++;
      else if (character === "}" || character === "]") depth--;
      if (depth < 0 || (depth === 0 && character === ",")) break;
      position++;
    }
    item(text, start, start + text.slice(start, position).trimEnd().length);
    position = skipSpace(text, position + 1);
  }
}

/** The position after the string that begins at `start`. */
function skipString(text: string, start: number): number {
  let position = start + 1;
  while (text[position] !== '"') position += text[position] === "\\" ? 2 : 1;
  return position + 1;
}

function skipSpace(text: string, start: number): number {
  let position = start;
  while (/\s/.test(text[position] ?? "")) position++;
  return position;
}
