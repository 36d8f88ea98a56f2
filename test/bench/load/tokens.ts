/**
 * The text of a token: a mark, and when it was sent. So a reader can tell how late each token comes, also when several
 * have been joined to one text. Nine characters, about two of Claude's real tokens.
 */
export const TOKEN_LENGTH = 9;
const MARK = "~";
const MARK_BYTE = MARK.charCodeAt(0);

/** The clock of tokens: microseconds since the process began. Whoever writes and whoever reads share the process. */
export function now(): number {
  return Math.round(performance.now() * 1_000);
}

export function tokenText(sentAt: number): string {
  return MARK + sentAt.toString(36).padStart(TOKEN_LENGTH - 1, "0");
}

/** Counts tokens, and, while it is told to, how late they come. */
export class TokenCounter {
  /** Tokens that have arrived. */
  count = 0;
  /** Lateness of those that were sent since `since`, in microseconds. */
  #late: number[] = [];
  #since = Number.POSITIVE_INFINITY;

  /** From now on, how late tokens come is kept. */
  measure(): void {
    this.#late = [];
    this.#since = now();
  }

  /** Ends `measure`. Returns how late the tokens came that were sent since it began, in microseconds, in order. */
  take(): Float64Array {
    this.#since = Number.POSITIVE_INFINITY;
    const late = Float64Array.from(this.#late).sort();
    this.#late = [];
    return late;
  }

  /** Counts the tokens of a text that has nothing else in it. */
  text(bytes: Buffer, start: number, end: number): void {
    const tokens = (end - start) / TOKEN_LENGTH;
    if (!Number.isInteger(tokens)) throw new Error("a token was cut");
    this.count += tokens;
    if (this.#since === Number.POSITIVE_INFINITY) return;
    const arrived = now();
    for (let at = start; at < end; at += TOKEN_LENGTH) this.#lateness(bytes, at, arrived);
  }

  /** Counts the tokens among other bytes, where no other byte can be the mark. Returns how many there were. */
  scan(bytes: Buffer): number {
    let found = 0;
    const arrived = now();
    for (let at = bytes.indexOf(MARK_BYTE); at !== -1; at = bytes.indexOf(MARK_BYTE, at + TOKEN_LENGTH)) {
      found++;
      if (at + TOKEN_LENGTH <= bytes.length) this.#lateness(bytes, at, arrived);
    }
    this.count += found;
    return found;
  }

  #lateness(bytes: Buffer, at: number, arrived: number): void {
    if (bytes[at] !== MARK_BYTE) throw new Error("not a token");
    const sentAt = Number.parseInt(bytes.toString("latin1", at + 1, at + TOKEN_LENGTH), 36);
    if (sentAt >= this.#since) this.#late.push(arrived - sentAt);
  }
}
