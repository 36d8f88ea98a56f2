import { TOKEN_LENGTH, tokenText } from "./tokens.ts";

// The parts of Claude's answer, as bytes that are ready to be sent: each event is a chunk of HTTP/1.1, as Claude's are.

const message = {
  id: "msg_01XFDUDYJgAACzvnptvVoYEL",
  type: "message",
  role: "assistant",
  model: "claude-sonnet-5-5",
  content: [] as object[],
  stop_reason: null as string | null,
  stop_sequence: null,
  usage: { input_tokens: 12, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 1 },
};

/** The head of a response that streams. */
export const STREAM_HEAD = head("content-type: text/event-stream", "transfer-encoding: chunked");

export const OPENING = Buffer.concat([
  event("message_start", { message }),
  event("content_block_start", { index: 0, content_block: { type: "text", text: "" } }),
]);

/** What follows the last token. */
export function closing(tokens: number): Buffer {
  return Buffer.concat([event("content_block_stop", { index: 0 }), ending("end_turn", tokens)]);
}

function ending(stopReason: string, tokens: number): Buffer {
  return Buffer.concat([
    event("message_delta", {
      delta: { stop_reason: stopReason, stop_sequence: null },
      usage: { ...message.usage, output_tokens: tokens },
    }),
    event("message_stop", {}),
    Buffer.from("0\r\n\r\n"),
  ]);
}

/** A whole answer that streams, and calls a tool so many times. Without a call it is paused, after a text. */
export function toolTurn(calls: number): Buffer {
  if (calls === 0) {
    const stop = event("content_block_stop", { index: 0 });
    return Buffer.concat([STREAM_HEAD, OPENING, token(0), stop, ending("pause_turn", 1)]);
  }
  const blocks = Array.from({ length: calls }, (_, index) => {
    const block = { type: "tool_use", id: `toolu_${index}`, name: "nothing", input: {} };
    const delta = { type: "input_json_delta", partial_json: "{}" };
    return [
      event("content_block_start", { index, content_block: block }),
      event("content_block_delta", { index, delta }),
      event("content_block_stop", { index }),
    ];
  });
  return Buffer.concat([STREAM_HEAD, event("message_start", { message }), ...blocks.flat(), ending("tool_use", calls)]);
}

export function token(sentAt: number): Buffer {
  return event("content_block_delta", { index: 0, delta: { type: "text_delta", text: tokenText(sentAt) } });
}

/** A whole response that is not streamed. */
export function unstreamed(tokens: number): Buffer {
  const content = [{ type: "text", text: tokenText(0).repeat(tokens) }];
  const usage = { ...message.usage, output_tokens: tokens };
  const body = JSON.stringify({ ...message, content, stop_reason: "end_turn", usage });
  return Buffer.concat([head("content-type: application/json", `content-length: ${body.length}`), Buffer.from(body)]);
}

/** A text of about so many bytes: to see how it waits, not to be read. */
export function longDelta(bytes: number): Buffer {
  const text = tokenText(0).repeat(bytes / TOKEN_LENGTH);
  return event("content_block_delta", { index: 0, delta: { type: "text_delta", text } });
}

function event(type: string, members: object): Buffer {
  const text = `event: ${type}\ndata: ${JSON.stringify({ type, ...members })}\n\n`;
  return Buffer.from(`${text.length.toString(16)}\r\n${text}\r\n`);
}

function head(...fields: readonly string[]): Buffer {
  const lines = ["HTTP/1.1 200 OK", ...fields, "request-id: req_011CSHoEeqs5C35K2UUqR7Fy"];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`);
}
