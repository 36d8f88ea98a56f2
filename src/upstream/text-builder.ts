/** How many bytes are collected before they become a string. */
const BUFFER_BYTES = 1_024;

/** The most bytes that a character of a string has in UTF-8. */
const MAX_CHARACTER_BYTES = 3;

/**
 * A text that grows by small pieces. Kept as strings, the pieces would take several times the room of the text: each keeps
 * what it was cut from, and the garbage collector moves each until the text is put together.
 */
export class TextBuilder {
  readonly #parts: string[] = [];
  #buffer: Buffer | undefined;
  #length = 0;

  append(piece: string): void {
    const most = piece.length * MAX_CHARACTER_BYTES;
    if (this.#length + most > BUFFER_BYTES) this.#flush();
    if (most > BUFFER_BYTES || !piece.isWellFormed()) {
      this.#flush();
      this.#parts.push(detached(piece));
      return;
    }
    this.#buffer ??= Buffer.allocUnsafe(BUFFER_BYTES);
    this.#length += this.#buffer.write(piece, this.#length);
  }

  toString(): string {
    this.#flush();
    return this.#parts.join("");
  }

  #flush(): void {
    if (this.#length === 0) return;
    this.#parts.push(this.#buffer?.toString("utf8", 0, this.#length) ?? "");
    this.#length = 0;
  }
}

/** A copy: V8 makes slices that keep all of the text alive that they are cut from, here all that arrived with them. */
export function detached(text: string): string {
  return text.isWellFormed() ? Buffer.from(text).toString() : text;
}
