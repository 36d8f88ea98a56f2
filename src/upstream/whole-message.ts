import type { ByteSource } from "./byte-source.ts";
import { elements, members, objectText } from "./raw-json.ts";

/**
 * The event stream of a message that was not streamed, so that all answers go one way. Claude does not stream where
 * nothing is generated (`max_tokens: 0`).
 *
 * @throws {SyntaxError} when the text is not that of a message.
 */
export function eventStreamOf(messageText: string): ByteSource {
  const { content = "[]", usage = "{}", ...others } = Object.fromEntries(members(messageText));
  const { stop_reason = "null", stop_sequence = "null", stop_details = "null", ...start } = others;
  const stop = { stop_reason, stop_sequence, stop_details };
  const events = [
    event("message_start", { message: object({ ...start, content: "[]", usage }) }),
    ...elements(content).flatMap((content_block, index) => [
      event("content_block_start", { index: String(index), content_block }),
      event("content_block_stop", { index: String(index) }),
    ]),
    event("message_delta", { delta: object(stop), usage }),
    event("message_stop", {}),
  ];
  return {
    start(sink) {
      sink.data(Buffer.from(events.join("")));
      sink.end();
    },
    pause() {},
    resume() {},
    release() {},
    abort() {},
  };
}

function event(type: string, texts: Record<string, string>): string {
  return `data: ${object({ type: JSON.stringify(type), ...texts })}\n\n`;
}

/** JSON has no line ends in its strings, but a text may have some between its parts. */
function object(texts: Record<string, string>): string {
  return objectText(Object.entries(texts)).replaceAll("\n", " ");
}
