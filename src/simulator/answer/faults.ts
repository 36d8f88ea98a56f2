import type { BodyShape } from "./body-writer.ts";

/** What goes wrong with an answer. Counts are events that were sent before; a body that is no stream is one event. */
export interface Faults extends BodyShape {
  readonly closeBeforeHeaders?: boolean | undefined;
  readonly stallAfter?: number | undefined;
  readonly cutAfter?: number | undefined;
  readonly truncateAfter?: number | undefined;
  readonly garbageAfter?: number | undefined;
  readonly errorAfter?: { readonly events: number; readonly body: unknown } | undefined;
}

/** A fault that ends an answer early. */
export interface EarlyEnd {
  readonly kind: "stall" | "cut" | "truncate" | "garbage" | "error";
  /** Events before it. */
  readonly after: number;
}

/** The fault that strikes first. One that would strike after the last event strikes there. */
export function findEarlyEnd(faults: Faults): EarlyEnd | undefined {
  const ends = [
    { kind: "stall", after: faults.stallAfter },
    { kind: "cut", after: faults.cutAfter },
    { kind: "truncate", after: faults.truncateAfter },
    { kind: "garbage", after: faults.garbageAfter },
    { kind: "error", after: faults.errorAfter?.events },
  ] as const;
  let first: EarlyEnd | undefined;
  for (const { kind, after } of ends) {
    if (after !== undefined && (!first || after < first.after)) first = { kind, after };
  }
  return first;
}

/** Bytes that are no UTF-8 and no event, and an event whose data is neither. */
export const GARBAGE = Buffer.concat([
  Buffer.of(0xff, 0xfe, 0x00, 0xc3, 0x28, 0x0a),
  Buffer.from('event: content_block_delta\ndata: {"type":"content_block_delta", '),
  Buffer.of(0xed, 0xa0, 0x80),
  Buffer.from("\n\n"),
]);
