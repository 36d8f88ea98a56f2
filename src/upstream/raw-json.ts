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
  JSON.parse(objectText);
  return membersOfValid(objectText);
}

/** As `members`, for a text that is known to be JSON: a part of one that was parsed. */
export function membersOfValid(objectText: string): Map<string, string> {
  const found = new Map<string, string>();
  let position = skipSpace(objectText, 0);
  if (objectText.charCodeAt(position) !== OPENING_BRACE) throw new SyntaxError("not a JSON object");
  position = skipSpace(objectText, position + 1);
  while (objectText.charCodeAt(position) !== CLOSING_BRACE) {
    const keyEnd = skipString(objectText, position);
    const key = objectText.slice(position + 1, keyEnd - 1);
    const valueStart = skipSpace(objectText, skipSpace(objectText, keyEnd) + 1);
    const valueEnd = skipValue(objectText, valueStart);
    found.set(key.includes("\\") ? (JSON.parse(`"${key}"`) as string) : key, objectText.slice(valueStart, valueEnd));
    position = skipComma(objectText, valueEnd);
  }
  return found;
}

/** The value of a text that is known to be JSON. A plain string, the most common value, needs no parser. */
export function parseValid(text: string): unknown {
  return text.charCodeAt(0) === QUOTE && !text.includes("\\") ? text.slice(1, -1) : JSON.parse(text);
}

/**
 * The exact texts of the elements of a JSON array.
 *
 * @throws {SyntaxError} when the text is no JSON array.
 */
export function elements(arrayText: string): string[] {
  JSON.parse(arrayText);
  const found: string[] = [];
  let position = skipSpace(arrayText, 0);
  if (arrayText.charCodeAt(position) !== OPENING_BRACKET) throw new SyntaxError("not a JSON array");
  position = skipSpace(arrayText, position + 1);
  while (arrayText.charCodeAt(position) !== CLOSING_BRACKET) {
    const end = skipValue(arrayText, position);
    found.push(arrayText.slice(position, end));
    position = skipComma(arrayText, end);
  }
  return found;
}

/** Puts an object together from members whose values are exact JSON texts. */
export function objectText(entries: Iterable<readonly [key: string, valueText: string]>): string {
  const parts: string[] = [];
  for (const [key, text] of entries) parts.push(`${JSON.stringify(key)}:${text}`);
  return `{${parts.join(",")}}`;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPENING_BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;

/** The position after the value that begins at `start`, in valid JSON. */
function skipValue(text: string, start: number): number {
  let position = start;
  for (let depth = 0; position < text.length; ) {
    const code = text.charCodeAt(position);
    if (code === QUOTE) {
      position = skipString(text, position);
    } else if (code === OPENING_BRACE || code === OPENING_BRACKET) {
      depth++;
      position++;
    } else if (depth > 0) {
      if (code === CLOSING_BRACE || code === CLOSING_BRACKET) depth--;
      position++;
    } else {
      while (!endsNumberOrName(text.charCodeAt(position))) position++;
    }
    if (depth === 0) return position;
  }
  throw new SyntaxError("JSON that breaks off");
}

/** Whether a number, `true`, `false` or `null` is over, at the end of the text (NaN) too. */
function endsNumberOrName(code: number): boolean {
  return code === COMMA || code === CLOSING_BRACE || code === CLOSING_BRACKET || !(code > 0x20);
}

/** The position after the string that begins at `start`. */
function skipString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end + 1;
  }
  throw new SyntaxError("JSON that breaks off");
}

/** The position of the next item, or of the bracket that ends them. */
function skipComma(text: string, start: number): number {
  const position = skipSpace(text, start);
  return text.charCodeAt(position) === COMMA ? skipSpace(text, position + 1) : position;
}

function skipSpace(text: string, start: number): number {
  let position = start;
  while (text.charCodeAt(position) <= 0x20) position++;
  return position;
}
