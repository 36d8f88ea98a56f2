import { Code } from "@connectrpc/connect";
import type { ToolResult } from "../tool.ts";
import type { AnswerReader } from "./answer-reader.ts";
import { CallFailure } from "./call-failure.ts";

/**
 * Collects the messages of a stream, and leaves it when they are more than they may be. When it has not ended in time, what
 * came until then is the result: streams that tell of changes have no end.
 *
 * @param progress told of the first message, and each time that their number has doubled.
 * @throws {CallFailure} when the stream ends with an error, and what the stream and the reader throw.
 */
export async function collect(
  messages: AsyncIterable<Buffer>,
  reader: AnswerReader,
  maxBytes: number,
  progress: (message: string) => void,
): Promise<ToolResult> {
  const texts: string[] = [];
  const result = (note?: string): ToolResult => {
    const text = `[${texts.join(",")}]`;
    if (note === undefined) return { content: text };
    // First, so that it remains when the result is cut.
    return {
      content: [
        { type: "text", text: note },
        { type: "text", text },
      ],
    };
  };
  let size = 2;
  try {
    for await (const message of messages) {
      const text = reader.text(message);
      size += Buffer.byteLength(text) + 1;
      if (size > maxBytes) return result(`[cut: ${first(texts)} of a stream with more than ${maxBytes} bytes]`);
      texts.push(text);
      if (Number.isInteger(Math.log2(texts.length))) progress(`received ${counted(texts)}`);
    }
  } catch (error) {
    const isOutOfTime = error instanceof CallFailure && error.code === Code.DeadlineExceeded;
    if (!isOutOfTime || texts.length === 0) throw error;
    return result(`[cut: ${first(texts)} of a stream that had not ended when the time of the call was up]`);
  }
  return result();
}

function first(texts: readonly string[]): string {
  return texts.length === 1 ? "this is the first message" : `these are the first ${texts.length} messages`;
}

function counted(texts: readonly string[]): string {
  return texts.length === 1 ? "1 message" : `${texts.length} messages`;
}
