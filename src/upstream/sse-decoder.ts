/** One event of a `text/event-stream`. */
export interface ServerSentEvent {
  /** The `event` field. Empty: none. */
  readonly name: string;
  /** The `data` fields, joined by line feeds. */
  readonly data: string;
}

/** The most bytes that one event may have: what an upstream that sends no line end could make us hold. */
const MAX_EVENT_BYTES = 64 * 1024 * 1024;

const LF = 0x0a;
const CR = 0x0d;

/**
 * Decodes a `text/event-stream` (WHATWG HTML, 9.2.6) from chunks that may be cut anywhere, also inside a character or
 * between CR and LF. An event that is not finished by an empty line when the stream ends is dropped, as the
 * specification wants.
 */
export class SseDecoder {
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true });
  /** Bytes of a line that has not ended. */
  #rest: Uint8Array[] = [];
  /** The last line ended with a CR: an LF that follows belongs to it. */
  #afterCr = false;
  #name = "";
  #data: string[] = [];
  /** Bytes of the event that has not ended. */
  #length = 0;

  /**
   * Takes a chunk, and hands on the events that it completes.
   *
   * @throws {TypeError} at bytes that are not UTF-8, after the events before them.
   * @throws {RangeError} when an event is too long.
   */
  decode(chunk: Uint8Array, emit: (event: ServerSentEvent) => void): void {
    this.#length += chunk.length;
    if (this.#length > MAX_EVENT_BYTES) throw new RangeError("event too long");
    const end = Math.max(chunk.lastIndexOf(LF), chunk.lastIndexOf(CR)) + 1;
    if (end > 0) {
      const lines = Buffer.concat([...this.#rest, chunk.subarray(0, end)]);
      this.#rest = [];
      let text: string;
      try {
        text = this.#utf8.decode(lines);
      } catch {
        this.#decodeEach(lines, emit);
        return;
      }
      this.#lines(text, emit);
    }
    // The chunk's memory may be used again by those who own it.
    if (end < chunk.length) this.#rest.push(chunk.slice(end));
  }

  /** Decodes line by line, up to the one that cannot be decoded. */
  #decodeEach(lines: Uint8Array, emit: (event: ServerSentEvent) => void): void {
    let start = 0;
    for (const [index, byte] of lines.entries()) {
      if (byte !== LF && byte !== CR) continue;
      this.#lines(this.#utf8.decode(lines.subarray(start, index + 1)), emit);
      start = index + 1;
    }
  }

  /** Takes whole lines, with their ends. */
  #lines(source: string, emit: (event: ServerSentEvent) => void): void {
    let text = this.#afterCr && source.startsWith("\n") ? source.slice(1) : source;
    this.#afterCr = source.endsWith("\r");
    if (text.includes("\r")) text = text.replace(/\r\n?/g, "\n");
    let start = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", start)) {
      const line = text.slice(start, end);
      start = end + 1;
      if (line !== "") {
        this.#field(line);
        continue;
      }
      const event = this.#data.length > 0 ? { name: this.#name, data: this.#data.join("\n") } : undefined;
      this.#name = "";
      this.#data = [];
      this.#length = 0;
      if (event !== undefined) emit(event);
    }
  }

  #field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    if (name !== "data" && name !== "event") return;
    const value = colon === -1 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "event") this.#name = value;
    else this.#data.push(value);
  }
}
