import { elements, membersOfValid, parseValid } from "./raw-json.ts";
import type { StreamEvent } from "./stream-event.ts";
import { TextBuilder } from "./text-builder.ts";

/** Members of a JSON object: the exact text of each value. */
export type Members = ReadonlyMap<string, string>;

export interface AnswerUsage {
  readonly members: Members;
  readonly outputIsEstimated: boolean;
}

/** Output that was received but not counted by Claude is estimated at one token for this many characters. */
const CHARACTERS_PER_TOKEN = 4;

/**
 * Claude's answer, put together from its events as they come. All parts stay exact JSON text, so that a block can be
 * sent back as it came.
 */
export class Answer {
  /** The `request-id` of the response. */
  readonly requestId: string | undefined;
  readonly #omitContent: boolean;
  readonly #message = new Map<string, string>();
  readonly #usage = new Map<string, string>();
  readonly #blocks: AnswerBlock[] = [];
  #outputCharacters = 0;
  #outputIsCounted = false;
  #toldUsage: AnswerUsage | undefined;

  /** @param omitContent whether the blocks are not kept: only what they cost is. */
  constructor(requestId: string | undefined, omitContent = false) {
    this.requestId = requestId;
    this.#omitContent = omitContent;
  }

  /** Whether anything has been received. */
  get begun(): boolean {
    return this.#message.size > 0;
  }

  /** Members of the message, without `content` and `usage`. */
  get message(): Members {
    return this.#message;
  }

  /** A member of the message that is a text. Empty: it is not there, or none. */
  text(name: string): string {
    const value = parseValid(this.#message.get(name) ?? '""');
    return typeof value === "string" ? value : "";
  }

  /** The content blocks so far, unless they are omitted. The `input` of a tool call may be cut short, and then is no JSON. */
  get blocks(): readonly Members[] {
    return this.#omitContent ? [] : this.#blocks.map((block) => block.members());
  }

  /** Kind of the content block that has begun last. Undefined: there is none, or it is omitted. */
  get lastBlockType(): string | undefined {
    return this.#blocks.at(-1)?.type;
  }

  /** What the call has cost so far. The same object until it changes. */
  get usage(): AnswerUsage {
    if (this.#outputIsCounted || this.#outputCharacters === 0) {
      this.#toldUsage ??= { members: this.#usage, outputIsEstimated: false };
      return this.#toldUsage;
    }
    const estimate = Math.ceil(this.#outputCharacters / CHARACTERS_PER_TOKEN);
    const told = Number(this.#usage.get("output_tokens") ?? 0);
    const tokens = Number.isFinite(told) ? Math.max(estimate, told) : estimate;
    return {
      members: new Map([...this.#usage, ["output_tokens", String(tokens)]]),
      outputIsEstimated: true,
    };
  }

  /**
   * Adds an event.
   *
   * @throws {TypeError} when the event does not fit those before it.
   */
  add({ event, json }: StreamEvent): void {
    switch (event.type) {
      case "content_block_delta": {
        const { delta } = event;
        const block = this.#block(event.index);
        switch (delta.type) {
          case "text_delta":
            this.#output(block.append("text", delta.text));
            break;
          case "thinking_delta":
            this.#output(block.append("thinking", delta.thinking));
            break;
          case "input_json_delta":
            this.#output(block.append("input", delta.partial_json));
            break;
          case "signature_delta":
            block.append("signature", delta.signature);
            break;
          case "citations_delta":
            block.cite(part(json, "delta", "citation"));
            break;
        }
        break;
      }
      case "content_block_start":
        if (event.index !== this.#blocks.length) throw new TypeError(`content block ${event.index} is out of order`);
        this.#blocks.push(new AnswerBlock(membersOfValid(part(json, "content_block")), this.#omitContent));
        break;
      case "content_block_stop":
        this.#block(event.index);
        break;
      case "message_start": {
        const message = membersOfValid(part(json, "message"));
        if (elements(message.get("content") ?? "[]").length > 0) throw new TypeError("an answer begins with content");
        this.#merge(message);
        break;
      }
      case "message_delta": {
        const { delta, usage, type: _, ...others } = Object.fromEntries(membersOfValid(json));
        this.#merge(new Map([...membersOfValid(delta ?? "{}"), ...Object.entries(others)]));
        if (usage !== undefined) {
          this.#mergeUsage(usage);
          this.#outputIsCounted = true;
        }
        break;
      }
    }
  }

  #output(characters: number): void {
    this.#outputCharacters += characters;
  }

  #merge(update: Members): void {
    for (const [name, text] of update) {
      if (name === "usage") this.#mergeUsage(text);
      else if (name !== "content") this.#message.set(name, text);
    }
  }

  /** Usage is cumulative: a number that is told again replaces the one before, and `null` tells nothing. */
  #mergeUsage(text: string): void {
    this.#toldUsage = undefined;
    for (const [name, value] of membersOfValid(text)) {
      if (value !== "null" || !this.#usage.has(name)) this.#usage.set(name, value);
    }
  }

  #block(index: number): AnswerBlock {
    const block = this.#blocks[index];
    if (block === undefined) throw new TypeError(`content block ${index} has not begun`);
    return block;
  }
}

/** A content block that grows by deltas. */
class AnswerBlock {
  readonly #start: Members;
  readonly #texts = new Map<string, TextBuilder>();
  readonly #citations: string[] = [];
  readonly #isOmitted: boolean;

  constructor(start: Members, isOmitted: boolean) {
    this.#start = isOmitted ? new Map() : start;
    this.#isOmitted = isOmitted;
  }

  get type(): string | undefined {
    const type = this.#start.get("type");
    return type === undefined ? undefined : String(parseValid(type));
  }

  /** Appends to a member that is a text, or to the JSON text of `input`. Returns the number of characters. */
  append(name: string, text: unknown): number {
    if (typeof text !== "string") throw new TypeError("a delta without its text");
    if (this.#isOmitted) return text.length;
    let builder = this.#texts.get(name);
    if (builder === undefined) {
      builder = new TextBuilder();
      this.#texts.set(name, builder);
    }
    builder.append(text);
    return text.length;
  }

  cite(citation: string): void {
    if (!this.#isOmitted) this.#citations.push(citation);
  }

  members(): Members {
    const result = new Map(this.#start);
    for (const [name, builder] of this.#texts) {
      const appended = builder.toString();
      if (name !== "input") result.set(name, JSON.stringify(this.#startText(name) + appended));
      else if (appended !== "") result.set("input", appended);
    }
    if (this.#citations.length > 0) {
      const first = elements(nonNull(this.#start.get("citations")) ?? "[]");
      result.set("citations", `[${[...first, ...this.#citations].join(",")}]`);
    }
    return result;
  }

  #startText(name: string): string {
    const start: unknown = JSON.parse(this.#start.get(name) ?? '""');
    return typeof start === "string" ? start : "";
  }
}

/** The exact text of a part of an object, found by the names of members. */
function part(json: string, ...path: readonly string[]): string {
  return path.reduce((text, name) => {
    const value = membersOfValid(text).get(name);
    if (value === undefined) throw new TypeError(`no ${name}`);
    return value;
  }, json);
}

function nonNull(text: string | undefined): string | undefined {
  return text === "null" ? undefined : text;
}
