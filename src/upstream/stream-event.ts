import type { RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages";

/** One of Claude's events. */
export interface StreamEvent {
  /** The event, parsed. A kind that the SDK's types do not know has only `type` for sure. */
  readonly event: RawMessageStreamEvent;
  /** Its exact JSON text: for the parts of it that must not be re-written. */
  readonly json: string;
}
