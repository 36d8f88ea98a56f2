import { readPromptBlocks } from "../request/prompt-blocks.ts";
import { isObject } from "../request/schema/primitives.ts";
import { countTokens } from "./tokens.ts";

/** Tokens that the markup around a block costs. */
const BLOCK_OVERHEAD = 3;

/** Tokens of an image, or of a page that cannot be read here: about a megapixel. */
const IMAGE_TOKENS = 1_500;

/** Bytes of a base64 PDF that count as one token. */
const PDF_UNITS_PER_TOKEN = 100;

/** Members that are billed elsewhere or not at all. */
const FREE = new Set(["type", "role", "cache_control", "citations", "signature", "id", "tool_use_id", "caller"]);

/** Tokens of one block, tool or system text. Takes any JSON. */
export function countBlockTokens(block: unknown): number {
  return BLOCK_OVERHEAD + weigh(block);
}

/** Tokens of everything the model reads for a request. */
export function countPromptTokens(request: unknown): number {
  return readPromptBlocks(request).reduce((sum, block) => sum + countBlockTokens(block.value), 0);
}

function weigh(value: unknown): number {
  if (typeof value === "string") return countTokens(value);
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + weigh(item), 0);
  if (!isObject(value)) return 1;
  if (value.type === "image") return IMAGE_TOKENS;
  if (value.type === "document" && isObject(value.source)) return weighDocument(value.source);
  let tokens = 0;
  for (const [key, member] of Object.entries(value)) {
    if (FREE.has(key) && typeof member !== "number") continue;
    tokens += countTokens(key) + weigh(member);
  }
  return tokens;
}

function weighDocument(source: Record<string, unknown>): number {
  if (source.type === "text") return weigh(source.data);
  if (source.type === "content") return weigh(source.content);
  if (source.type === "base64" && typeof source.data === "string") {
    return IMAGE_TOKENS + Math.ceil(source.data.length / PDF_UNITS_PER_TOKEN);
  }
  return IMAGE_TOKENS;
}
