/** A sentence, repeated as often as it takes. */
const WORDS =
  "the simulator writes plain words one after another so that a long answer can be read as a stream of small pieces until the count that was asked for is reached";

/** More words than any model can write in one answer. */
const MOST_WORDS = 200_000;

/** As many words as the prompt asks for ("500 words"), in sentences; `undefined` when it does not. */
export function wordsOnDemand(prompt: string): string | undefined {
  const asked = /\b(\d{1,9})\s+words\b/i.exec(prompt)?.[1];
  if (asked === undefined) return undefined;
  const count = Math.min(Number(asked), MOST_WORDS);
  if (count === 0) return undefined;
  const vocabulary = WORDS.split(" ");
  const words = Array.from({ length: count }, (_, index) => {
    const place = index % vocabulary.length;
    const word = vocabulary[place] ?? "";
    const isFirst = place === 0;
    const isLast = place === vocabulary.length - 1 || index === count - 1;
    return `${isFirst ? word[0]?.toUpperCase() + word.slice(1) : word}${isLast ? "." : ""}`;
  });
  return words.join(" ");
}
