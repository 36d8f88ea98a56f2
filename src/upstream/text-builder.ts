/** How many pieces are joined at a time. */
const PIECES = 64;

/**
 * A text that grows by small pieces. Joined with `+`, V8 would keep each piece and a node for it, several times the text
 * itself, for as long as nobody reads the text.
 */
export class TextBuilder {
  #joined: string[] = [];
  #pieces: string[] = [];

  append(piece: string): void {
    this.#pieces.push(piece);
    if (this.#pieces.length < PIECES) return;
    this.#joined.push(this.#pieces.join(""));
    this.#pieces = [];
  }

  toString(): string {
    return this.#joined.join("") + this.#pieces.join("");
  }
}
