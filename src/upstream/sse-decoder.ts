/** One event of a `text/event-stream`. */
export interface ServerSentEvent {
  /** The `event` field. Empty: none. */
  readonly name: string;
  /** The `data` fields, joined by line feeds. */
  readonly data: string;
}

/** The most characters that one event may have: what an upstream that sends no line end could make us hold. */
const MAX_EVENT_LENGTH = 64 * 1024 * 1024;

/**
 * Decodes a `text/event-stream` (WHATWG HTML, 9.2.6) from chunks that may be cut anywhere, also inside a character or
 * between CR and LF. An event that is not finished by an empty line when the stream ends is dropped, as the
 * specification wants.
 */
export class SseDecoder {
  readonly #text = new TextDecoder("utf-8", { fatal: true });
  /** What came after the last line end. */
  #rest = "";
  /** A CR ended the last chunk: an LF that follows belongs to it. */
  #afterCr = false;
  #name = "";
  #data: string[] = [];
  #length = 0;

  /**
   * Takes a chunk and returns the events that it completes.
   *
   * @throws {TypeError} when the bytes are not UTF-8.
   * @throws {RangeError} when an event is too long.
   */
  decode(chunk: Uint8Array): ServerSentEvent[] {
    let text = this.#text.decode(chunk, { stream: true });
    if (this.#afterCr && text !== "") {
      this.#afterCr = false;
      if (text.startsWith("\n")) text = text.slice(1);
    }
    if (text.includes("\r")) {
      this.#afterCr = text.endsWith("\r");
      text = text.replace(/\r\n?/g, "\n");
    }
    const events: ServerSentEvent[] = [];
    let start = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", start)) {
      const line = this.#rest + text.slice(start, end);
      this.#rest = "";
      start = end + 1;
      if (line !== "") {
        this.#field(line);
      } else if (this.#data.length > 0 || this.#name !== "") {
        events.push({
          name: this.#name,
          data: this.#data.length === 1 ? (this.#data[0] ?? "") : this.#data.join("\n"),
        });
        this.#name = "";
        this.#data = [];
        this.#length = 0;
      }
    }
    this.#rest += text.slice(start);
    if (this.#rest.length + this.#length > MAX_EVENT_LENGTH) throw new RangeError("event too long");
    return events;
  }

  #field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    if (name !== "data" && name !== "event") return;
    const value = colon === -1 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "event") {
      this.#name = value;
    } else {
      this.#data.push(value);
      this.#length += value.length;
    }
  }
}
