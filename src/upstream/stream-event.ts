import type { RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages";

/** One of Claude's events. */
export interface StreamEvent {
  /** The event, parsed. A kind that the SDK's types do not know has only `type` for sure. */
  readonly event: RawMessageStreamEvent;
  /**
   * Its exact JSON text, for the parts of it that must not be re-written. Empty for a plain delta, which nearly all
   * events are, and which has none.
   */
  readonly json: string;
}

const textMembers = new Map<unknown, string>([
  ["text_delta", "text"],
  ["input_json_delta", "partial_json"],
  ["thinking_delta", "thinking"],
  ["signature_delta", "signature"],
]);

/** The member that holds the text of a delta that appends one. Undefined: the type is of another kind. */
export function textMember(deltaType: unknown): string | undefined {
  return textMembers.get(deltaType);
}

/** An event from its JSON text. Throws when it is none. */
export function parseEvent(json: string): StreamEvent {
  const event = JSON.parse(json) as RawMessageStreamEvent;
  if (typeof event?.type !== "string") throw new TypeError("an event without a type");
  return { event, json: isPlainDelta(event) ? "" : detached(json) };
}

/** A copy: V8 makes slices that keep all of the text alive that they are cut from, here all that arrived with them. */
function detached(text: string): string {
  return Buffer.from(text).toString();
}

/** Whether an event is a delta that appends a text, and says nothing else. */
function isPlainDelta(event: RawMessageStreamEvent): boolean {
  if (event.type !== "content_block_delta" || hasMoreThan(event, 3)) return false;
  const { delta } = event;
  return delta !== null && typeof delta === "object" && textMember(delta.type) !== undefined && !hasMoreThan(delta, 2);
}

function hasMoreThan(value: object, count: number): boolean {
  let seen = 0;
  for (const _ in value) if (++seen > count) return true;
  return false;
}
