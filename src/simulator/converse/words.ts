const WORDS =
  "the simulator writes plain words one after another so that a long answer can be read as a stream of small pieces until the count that was asked for is reached";

/** More words than any model can write in one answer. */
const MOST_WORDS = 200_000;

const WORDS_PER_SENTENCE = 12;

/** As many words as the prompt asks for ("500 words"), in sentences; `undefined` when it does not. */
export function wordsOnDemand(prompt: string): string | undefined {
  const asked = /\b(\d{1,9})\s+words\b/i.exec(prompt)?.[1];
  if (asked === undefined) return undefined;
  const count = Math.min(Number(asked), MOST_WORDS);
  if (count === 0) return undefined;
  const vocabulary = WORDS.split(" ");
  const words = Array.from({ length: count }, (_, index) => {
    const word = vocabulary[index % vocabulary.length] ?? "";
    const isFirst = index % WORDS_PER_SENTENCE === 0;
    const isLast = index % WORDS_PER_SENTENCE === WORDS_PER_SENTENCE - 1 || index === count - 1;
    return `${isFirst ? word[0]?.toUpperCase() + word.slice(1) : word}${isLast ? "." : ""}`;
  });
  return words.join(" ");
}
