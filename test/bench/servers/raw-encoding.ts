/** The events of Claude's that the raw forwarder knows. */
export type ClaudeEvent =
  | { readonly type: "message_start"; readonly message: ClaudeMessage }
  | { readonly type: "content_block_start"; readonly index: number }
  | { readonly type: "content_block_delta"; readonly index: number; readonly delta: { readonly text: string } }
  | { readonly type: "content_block_stop"; readonly index: number }
  | { readonly type: "message_delta"; readonly delta: { readonly stop_reason: string }; readonly usage: ClaudeUsage }
  | { readonly type: "message_stop" }
  | { readonly type: "ping" };

interface ClaudeMessage {
  readonly id: string;
  readonly model: string;
  readonly usage: ClaudeUsage;
}

interface ClaudeUsage {
  readonly input_tokens: number;
  readonly output_tokens: number;
}

/** Numbers of fields in `parley/v1/chat_service.proto`, `content.proto` and `usage.proto`, with the type of their wire form. */
const VARINT = 0;
const BYTES = 2;
const END_TURN = 1;

/** Writes Claude's events as gRPC messages of `StreamChatResponse`, and the answer as one of `ChatResponse`. */
export class EventEncoder {
  requestId = "";
  #bytes = Buffer.allocUnsafe(4_096);
  #length = 0;
  #sequence = 0;
  #message: ClaudeMessage | undefined;
  #stopReason = "";
  #usage: Buffer = Buffer.alloc(0);
  #text = "";

  /** What has been written since the last time. */
  take(): Buffer {
    const bytes = this.#bytes.subarray(0, this.#length);
    this.#bytes = this.#bytes.subarray(this.#length);
    this.#length = 0;
    return bytes;
  }

  /** The gRPC message of the whole answer. */
  response(): Buffer {
    this.#append(this.#answer());
    return this.take();
  }

  /** @param write whether the event is written, and not only kept for `response`. */
  add(event: ClaudeEvent, write: boolean): void {
    switch (event.type) {
      case "content_block_delta":
        this.#text += event.delta.text;
        if (write) this.#delta(event.index, event.delta.text);
        break;
      case "message_start":
        this.#message = event.message;
        this.#usage = usage(event.message.usage);
        if (write)
          this.#event(2, [
            text(1, event.message.id),
            text(2, event.message.model),
            bytes(3, this.#usage),
            text(4, this.requestId),
          ]);
        break;
      case "content_block_start":
        if (write) this.#event(3, [varint(1, event.index), bytes(2, textBlock(""))]);
        break;
      case "content_block_stop":
        if (write) this.#event(5, [varint(1, event.index)]);
        break;
      case "message_delta":
        this.#stopReason = event.delta.stop_reason;
        this.#usage = usage(event.usage);
        if (write) this.#event(6, [varint(1, END_TURN), text(2, this.#stopReason), bytes(5, this.#usage)]);
        break;
      case "message_stop":
        if (write) this.#event(7, [bytes(1, this.#answer())]);
        break;
    }
  }

  #answer(): Buffer {
    const seconds = Date.now() / 1_000;
    return Buffer.concat([
      text(1, this.#message?.id ?? ""),
      text(2, this.#message?.model ?? ""),
      bytes(3, textBlock(this.#text)),
      varint(4, END_TURN),
      text(5, this.#stopReason),
      bytes(8, this.#usage),
      text(11, this.requestId),
      bytes(12, Buffer.concat([varint(1, Math.floor(seconds)), varint(2, Math.floor((seconds % 1) * 1e9))])),
    ]);
  }

  /** A delta, of which there are many, goes straight into the buffer. */
  #delta(index: number, deltaText: string): void {
    this.#sequence++;
    const textLength = Buffer.byteLength(deltaText);
    const indexLength = index === 0 ? 0 : 1 + varintLength(index);
    const deltaLength = indexLength + 1 + varintLength(textLength) + textLength;
    const length = 1 + varintLength(this.#sequence) + 1 + varintLength(deltaLength) + deltaLength;
    this.#reserve(5 + length);
    const target = this.#bytes;
    target[this.#length] = 0;
    target.writeUInt32BE(length, this.#length + 1);
    let at = this.#length + 5;
    target[at++] = (1 << 3) | VARINT;
    at = writeVarint(target, at, this.#sequence);
    target[at++] = (4 << 3) | BYTES;
    at = writeVarint(target, at, deltaLength);
    if (index !== 0) {
      target[at++] = (1 << 3) | VARINT;
      at = writeVarint(target, at, index);
    }
    target[at++] = (2 << 3) | BYTES;
    at = writeVarint(target, at, textLength);
    target.write(deltaText, at);
    this.#length = at + textLength;
  }

  #event(field: number, parts: readonly Buffer[]): void {
    this.#append(Buffer.concat([varint(1, ++this.#sequence), bytes(field, Buffer.concat(parts))]));
  }

  #append(message: Buffer): void {
    this.#reserve(5 + message.length);
    this.#bytes[this.#length] = 0;
    this.#bytes.writeUInt32BE(message.length, this.#length + 1);
    message.copy(this.#bytes, this.#length + 5);
    this.#length += 5 + message.length;
  }

  #reserve(length: number): void {
    if (this.#length + length <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(4_096, 2 * (this.#length + length)));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

function usage({ input_tokens, output_tokens }: ClaudeUsage): Buffer {
  return Buffer.concat([varint(1, input_tokens), varint(2, output_tokens)]);
}

/** A ContentBlock with a TextBlock. */
function textBlock(value: string): Buffer {
  return bytes(1, text(1, value));
}

function text(field: number, value: string): Buffer {
  return value === "" ? Buffer.alloc(0) : bytes(field, Buffer.from(value));
}

function bytes(field: number, value: Buffer): Buffer {
  const head = Buffer.allocUnsafe(1 + varintLength(value.length));
  head[0] = (field << 3) | BYTES;
  writeVarint(head, 1, value.length);
  return Buffer.concat([head, value]);
}

function varint(field: number, value: number): Buffer {
  if (value === 0) return Buffer.alloc(0);
  const target = Buffer.allocUnsafe(1 + varintLength(value));
  target[0] = (field << 3) | VARINT;
  writeVarint(target, 1, value);
  return target;
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) length++;
  return length;
}

function writeVarint(target: Buffer, position: number, value: number): number {
  let at = position;
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) target[at++] = (rest % 128) + 128;
  target[at++] = rest;
  return at;
}
