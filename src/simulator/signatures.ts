import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/**
 * Signatures of thinking blocks. Claude's are opaque and bind a block to what Claude wrote; these do the same
 * with a fixed key, so that a block signed by one process is accepted by the next.
 *
 * Layout before base64: one byte of kind, 32 bytes SHA-256 of the text, 32 bytes HMAC-SHA-256 of the two.
 */
const KEY = "parley-simulator-thinking-blocks";

/** `summarized`: the text is in the block; `omitted`: the block's text is empty; `redacted`: no readable text. */
type Kind = "summarized" | "omitted" | "redacted";

const KIND_BYTES: Record<Kind, number> = { summarized: 1, omitted: 2, redacted: 3 };
const LENGTH = 1 + 32 + 32;

/** Whether a block sent back is the one that was returned. */
export type SignatureVerdict = "genuine" | "edited" | "invalid";

function seal(kind: Kind, text: string): string {
  const head = Buffer.concat([Buffer.of(KIND_BYTES[kind]), createHash("sha256").update(text).digest()]);
  return Buffer.concat([head, createHmac("sha256", KEY).update(head).digest()]).toString("base64");
}

function open(sealed: string): { kind: number; digest: Buffer } | undefined {
  const bytes = Buffer.from(sealed, "base64");
  if (bytes.length !== LENGTH || bytes.toString("base64") !== sealed) return undefined;
  const head = bytes.subarray(0, 33);
  const expected = createHmac("sha256", KEY).update(head).digest();
  if (!timingSafeEqual(expected, bytes.subarray(33))) return undefined;
  return { kind: head.readUInt8(0), digest: head.subarray(1) };
}

/** The `signature` of a thinking block whose text is returned (`summarized`) or left out (`omitted`). */
export function signThinking(text: string, display: "summarized" | "omitted" = "summarized"): string {
  return seal(display, text);
}

/** The `data` of a `redacted_thinking` block that stands for this text. */
export function redactThinking(text: string): string {
  return seal("redacted", text);
}

/**
 * Checks a thinking block that came back. As with Claude, text put into a block that was returned without text is
 * ignored, and any other change of the text makes the block `edited`.
 */
export function verifyThinking(block: { thinking: string; signature: string }): SignatureVerdict {
  const sealed = open(block.signature);
  if (sealed?.kind === KIND_BYTES.omitted) return "genuine";
  if (sealed?.kind !== KIND_BYTES.summarized) return "invalid";
  return createHash("sha256").update(block.thinking).digest().equals(sealed.digest) ? "genuine" : "edited";
}

/** Checks the `data` of a `redacted_thinking` block that came back. */
export function verifyRedactedThinking(data: string): SignatureVerdict {
  return open(data)?.kind === KIND_BYTES.redacted ? "genuine" : "invalid";
}
