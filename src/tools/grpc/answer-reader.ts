import { type DescMethod, fromBinary, type Message, type Registry } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { messageText } from "../../descriptors/message-json.ts";
import { ToolError } from "../tool.ts";
import { tooLarge } from "./call-failure.ts";

/** Makes texts for Claude of what a method answers. */
export class AnswerReader {
  readonly #method: DescMethod;
  readonly #registry: Registry;
  readonly #maxBytes: number;
  readonly #isMutating: boolean;

  constructor(method: DescMethod, registry: Registry, maxBytes: number, isMutating: boolean) {
    this.#method = method;
    this.#registry = registry;
    this.#maxBytes = maxBytes;
    this.#isMutating = isMutating;
  }

  /**
   * The JSON text of a message.
   *
   * @throws {ToolError} when it is none of the method's, has no JSON, or too much.
   */
  text(bytes: Buffer): string {
    const text = this.#read(bytes);
    if (Buffer.byteLength(text) > this.#maxBytes) {
      throw new ToolError(Code.ResourceExhausted, `RESOURCE_EXHAUSTED: ${tooLarge(this.#maxBytes)}${this.#effect}`);
    }
    return text;
  }

  #read(bytes: Buffer): string {
    const { output } = this.#method;
    try {
      const message: Message = fromBinary(output, bytes);
      return messageText(output, message, this.#registry, true);
    } catch (cause) {
      throw new ToolError(Code.Internal, `INTERNAL: the answer cannot be read as ${output.typeName}${this.#effect}`, {
        cause,
      });
    }
  }

  /** Claude must not take an answer that it cannot have for a call that was not made. */
  get #effect(): string {
    return this.#isMutating ? ": the call itself has succeeded" : "";
  }
}
