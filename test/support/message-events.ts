import type { Step } from "../../src/simulator/simulator.ts";

type Json = Record<string, unknown>;

/** A content block as Claude streams it: how it starts, and its deltas. */
export interface StreamedBlock {
  readonly start: Json;
  readonly deltas?: readonly Json[];
}

/** Claude's own events of one message, for what a script has no words for: exact JSON, and answers of any form. */
export function messageEvents(
  blocks: readonly StreamedBlock[],
  stopReason: string | null,
): NonNullable<Step["respond"]> {
  const message = { id: "msg_1", type: "message", role: "assistant", model: "claude-sonnet-5-5", content: [] };
  const events: Json[] = [
    {
      type: "message_start",
      message: { ...message, stop_reason: null, usage: { input_tokens: 10, output_tokens: 1 } },
    },
    ...blocks.flatMap(({ start, deltas = [] }, index) => [
      { type: "content_block_start", index, content_block: start },
      ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
      { type: "content_block_stop", index },
    ]),
    { type: "message_delta", delta: { stop_reason: stopReason, stop_sequence: null }, usage: { output_tokens: 7 } },
    { type: "message_stop" },
  ];
  return { events: events.map((data) => ({ data })) };
}

/** A tool call whose arguments are this text, in pieces of so many characters. */
export function streamedCall(id: string, name: string, inputJson: string, pieceLength = 7): StreamedBlock {
  const pieces = inputJson.match(new RegExp(`[^]{1,${pieceLength}}`, "g")) ?? [];
  return {
    start: { type: "tool_use", id, name, input: {} },
    deltas: pieces.map((partial_json) => ({ type: "input_json_delta", partial_json })),
  };
}
