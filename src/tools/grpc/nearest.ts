/** The most names that are told. */
const MAX_NAMES = 5;

/** The names that are most like the one that there is not, the most similar first. */
export function nearest(name: string, others: readonly string[]): string[] {
  return others
    .map((other) => ({ other, distance: distanceOf(name.toLowerCase(), other.toLowerCase()) }))
    .sort((one, another) => one.distance - another.distance)
    .slice(0, MAX_NAMES)
    .map(({ other }) => other);
}

/** Levenshtein's distance: how many characters must be put in, taken out or changed. */
function distanceOf(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [index, character] of Array.from(one).entries()) {
    const next = [index + 1];
    for (let column = 0; column < other.length; column++) {
      const changed = (row[column] ?? 0) + (character === other[column] ? 0 : 1);
      next.push(Math.min(changed, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
