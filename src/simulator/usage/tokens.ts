/** UTF-16 code units in a token: English text has about four characters to one. */
const UNITS_PER_TOKEN = 4;

/** How many tokens a text has. */
export function countTokens(text: string): number {
  return Math.ceil(text.length / UNITS_PER_TOKEN);
}

/** Where the first `tokens` tokens of a text end; never inside a surrogate pair. */
function endOf(text: string, tokens: number): number {
  const end = Math.min(tokens * UNITS_PER_TOKEN, text.length);
  return isInsidePair(text, end) ? end + 1 : end;
}

function isInsidePair(text: string, index: number): boolean {
  const before = text.charCodeAt(index - 1);
  const after = text.charCodeAt(index);
  return before >= 0xd800 && before <= 0xdbff && after >= 0xdc00 && after <= 0xdfff;
}

/** The beginning of a text, of at most so many tokens. */
export function firstTokens(text: string, tokens: number): string {
  return text.slice(0, endOf(text, tokens));
}

/** The text cut into its tokens, as a model streams them. */
export function* splitTokens(text: string): Generator<string> {
  let start = 0;
  for (let token = 1; start < text.length; token++) {
    const end = endOf(text, token);
    if (end > start) yield text.slice(start, end);
    start = end;
  }
}
