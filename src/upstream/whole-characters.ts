import { type StreamEvent, textDelta, textMember } from "./stream-event.ts";

/** A delta that appends a text, and says nothing else. */
interface TextDelta {
  readonly index: number;
  readonly type: string;
  readonly member: string;
  readonly text: string;
}

/**
 * Keeps characters whole. JSON can carry half of a character beyond U+FFFF at the end of one delta and the other half at
 * the beginning of the next; protobuf cannot. The first half is held back and goes with the second; one that is never
 * completed goes out as it is.
 */
export class WholeCharacters {
  #half: TextDelta | undefined;

  /** Whether an event can be handed on as it is: nearly all can. */
  passes({ event, json }: StreamEvent): boolean {
    if (this.#half !== undefined) return false;
    if (event.type !== "content_block_delta" || json !== "") return true;
    const delta = event.delta as unknown as Readonly<Record<string, unknown>>;
    const text = delta[textMember(delta.type) ?? ""];
    return typeof text !== "string" || !endsInHalf(text);
  }

  /** The events to hand on in the place of one that does not pass. */
  take(received: StreamEvent): readonly StreamEvent[] {
    const half = this.#half;
    const delta = plainDelta(received);
    this.#half = undefined;
    const isContinued = half !== undefined && half.index === delta?.index && half.member === delta.member;
    const events = half === undefined || isContinued ? [] : [eventOf(half)];
    if (delta === undefined) return [...events, received];
    let text = isContinued ? half.text + delta.text : delta.text;
    if (endsInHalf(text)) {
      this.#half = { ...delta, text: text.slice(-1) };
      text = text.slice(0, -1);
    }
    return text === "" ? events : [...events, eventOf({ ...delta, text })];
  }
}

function plainDelta({ event, json }: StreamEvent): TextDelta | undefined {
  if (event.type !== "content_block_delta" || json !== "") return undefined;
  const delta = event.delta as unknown as Readonly<Record<string, unknown>> & { readonly type: string };
  const member = textMember(delta.type);
  const text = member === undefined ? undefined : delta[member];
  if (member === undefined || typeof text !== "string") return undefined;
  return { index: event.index, type: delta.type, member, text };
}

function eventOf({ index, type, member, text }: TextDelta): StreamEvent {
  return textDelta(index, type, member, text);
}

function endsInHalf(text: string): boolean {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last <= 0xdbff;
}
