/** The most bytes that one event may have: what an upstream that sends no line end could make us hold. */
const MAX_EVENT_BYTES = 64 * 1024 * 1024;

const LF = 0x0a;
const CR = 0x0d;

/**
 * Decodes a `text/event-stream` (WHATWG HTML, 9.2.6) from chunks that may be cut anywhere, also inside a character or
 * between CR and LF. Of an event only its data is handed on: Claude's data says by itself what it is. An event that is
 * not finished by an empty line when the stream ends is dropped, as the specification wants.
 */
export class SseDecoder {
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true });
  /** Bytes of a line that has not ended. */
  #rest: Uint8Array[] = [];
  /** The last line ended with a CR: an LF that follows belongs to it. */
  #afterCr = false;
  #data: string | undefined;
  /** Bytes of the event that has not ended. */
  #length = 0;

  /**
   * Takes a chunk, and hands on the data of the events that it completes.
   *
   * @throws {TypeError} at bytes that are not UTF-8, after the events before them.
   * @throws {RangeError} when an event is too long.
   */
  decode(chunk: Uint8Array, emit: (data: string) => void): void {
    this.#length += chunk.length;
    if (this.#length > MAX_EVENT_BYTES) throw new RangeError("event too long");
    const end = Math.max(chunk.lastIndexOf(LF), chunk.lastIndexOf(CR)) + 1;
    if (end > 0) {
      // Only the line that was cut is put together again: the others are decoded where they are.
      const start = this.#rest.length > 0 ? firstLineEnd(chunk) : 0;
      if (start > 0) this.#decodeLines(Buffer.concat([...this.#rest, chunk.subarray(0, start)]), emit);
      if (this.#rest.length > 0) this.#rest = [];
      this.#decodeLines(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end), emit);
    }
    // A copy: a view would keep all of the chunk.
    if (end < chunk.length) this.#rest.push(new Uint8Array(chunk.subarray(end)));
  }

  #decodeLines(lines: Uint8Array, emit: (data: string) => void): void {
    if (lines.length === 0) return;
    let text: string;
    try {
      text = this.#utf8.decode(lines);
    } catch {
      this.#decodeEach(lines, emit);
      return;
    }
    this.#lines(text, emit);
  }

  /** Decodes line by line, up to the one that cannot be decoded. */
  #decodeEach(lines: Uint8Array, emit: (data: string) => void): void {
    for (let start = 0; start < lines.length; ) {
      const end = start + firstLineEnd(lines.subarray(start));
      this.#lines(this.#utf8.decode(lines.subarray(start, end)), emit);
      start = end;
    }
  }

  /** Takes whole lines, with their ends. */
  #lines(source: string, emit: (data: string) => void): void {
    let text = this.#afterCr && source.startsWith("\n") ? source.slice(1) : source;
    this.#afterCr = source.endsWith("\r");
    if (text.includes("\r")) text = text.replace(/\r\n?/g, "\n");
    let start = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", start)) {
      if (end === start) {
        const data = this.#data;
        this.#data = undefined;
        this.#length = 0;
        if (data !== undefined) emit(data);
      } else if (text.startsWith("data", start)) {
        this.#field(text, start + 4, end);
      }
      start = end + 1;
    }
  }

  /** Takes what follows the word `data` in a line. */
  #field(text: string, start: number, end: number): void {
    const isAll = start === end;
    if (!isAll && text[start] !== ":") return;
    const valueStart = isAll ? start : text[start + 1] === " " ? start + 2 : start + 1;
    const value = text.slice(valueStart, end);
    this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
  }
}

/** The position after the first line end of a chunk that has one. */
function firstLineEnd(chunk: Uint8Array): number {
  return chunk.findIndex((byte) => byte === LF || byte === CR) + 1;
}
