import type { RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages";
import { detached } from "./text-builder.ts";

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

/**
 * A plain delta, in the form in which Claude writes it, with a text that has no escapes: nearly all events. To recognise
 * one takes a quarter of the time of parsing it.
 */
const PLAIN_DELTA =
  /^\{"type":"content_block_delta","index":(0|[1-9]\d{0,5}),"delta":\{"type":"([a-z_]+)","([a-z_]+)":"([^"\\\p{Cc}]*)"\}\}$/u;

/** For longer texts the engine of regular expressions may run out of stack. */
const MAX_PLAIN_LENGTH = 64 * 1024;

/** An event from its JSON text. Throws when it is none. */
export function parseEvent(json: string): StreamEvent {
  const plain = json.length <= MAX_PLAIN_LENGTH ? PLAIN_DELTA.exec(json) : null;
  const [, index, type, member = "", text = ""] = plain ?? [];
  if (type !== undefined && textMember(type) === member) return textDelta(Number(index), type, member, text);
  const event = JSON.parse(json) as RawMessageStreamEvent;
  if (typeof event?.type !== "string") throw new TypeError("an event without a type");
  return { event, json: isPlainDelta(event) ? "" : detached(json) };
}

/** A plain delta. */
export function textDelta(index: number, type: string, member: string, text: string): StreamEvent {
  const event = { type: "content_block_delta", index, delta: { type, [member]: text } };
  return { event: event as unknown as RawMessageStreamEvent, json: "" };
}

/** Adds a plain delta to one that came right before it, if both append to the same text. Returns whether it did. */
export function join(last: StreamEvent | undefined, { event, json }: StreamEvent): boolean {
  if (last === undefined || last.json !== "" || json !== "") return false;
  const before = last.event;
  if (event.type !== "content_block_delta" || before.type !== "content_block_delta") return false;
  if (event.index !== before.index || event.delta.type !== before.delta.type) return false;
  const member = textMember(event.delta.type) as string;
  const text = event.delta as unknown as Record<string, string>;
  const longer = before.delta as unknown as Record<string, string>;
  longer[member] += text[member] as string;
  return true;
}

/** Whether an event is a delta that appends a text, and says nothing else. */
function isPlainDelta(event: RawMessageStreamEvent): boolean {
  if (event.type !== "content_block_delta" || hasMoreThan(event, 3)) return false;
  const { delta } = event;
  if (delta === null || typeof delta !== "object" || hasMoreThan(delta, 2)) return false;
  const member = textMember(delta.type);
  return member !== undefined && typeof (delta as unknown as Record<string, unknown>)[member] === "string";
}

function hasMoreThan(value: object, count: number): boolean {
  let seen = 0;
  for (const _ in value) if (++seen > count) return true;
  return false;
}
