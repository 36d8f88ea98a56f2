import { clone } from "@bufbuild/protobuf";
import { type AgentEvent, AgentEventSchema } from "../../gen/parley/v1/agent_service_pb.js";
import type { ContentBlockDelta } from "../../gen/parley/v1/chat_service_pb.js";

/** Joins deltas that follow each other in the same text, up to an event of a run. */
export class DeltaJoiner {
  readonly #until: number;
  #held: AgentEvent | undefined;
  #texts: string[] = [];

  /** @param until sequence number of the last event that is held back for others to be joined with it. */
  constructor(until: number) {
    this.#until = until;
  }

  /** Takes the next event, and returns those that can be sent. */
  take(event: AgentEvent): AgentEvent[] {
    const ready: AgentEvent[] = [];
    const delta = textDelta(event);
    if (this.#held !== undefined && (delta === undefined || !continues(textDelta(this.#held), delta))) {
      ready.push(this.#release(this.#held));
    }
    if (delta === undefined) {
      ready.push(event);
      return ready;
    }
    this.#held = event;
    this.#texts.push(delta.delta.value);
    if (event.sequence >= this.#until) ready.push(this.#release(event));
    return ready;
  }

  /** The last of the joined events, with the text of all of them. */
  #release(last: AgentEvent): AgentEvent {
    const texts = this.#texts;
    this.#held = undefined;
    this.#texts = [];
    if (texts.length === 1) return last;
    const joined = clone(AgentEventSchema, last);
    const delta = textDelta(joined);
    if (delta !== undefined) delta.delta.value = texts.join("");
    return joined;
  }
}

type TextDelta = ContentBlockDelta & { delta: { value: string } };

function textDelta({ event }: AgentEvent): TextDelta | undefined {
  if (event.case !== "messageEvent" || event.value.event.case !== "contentBlockDelta") return undefined;
  const delta = event.value.event.value;
  return typeof delta.delta.value === "string" && event.value.extraJson === "" ? (delta as TextDelta) : undefined;
}

function continues(before: TextDelta | undefined, delta: TextDelta): boolean {
  return before?.index === delta.index && before.delta.case === delta.delta.case;
}
