import { isDeepStrictEqual } from "node:util";
import type { ToolResultBlockParam } from "@anthropic-ai/sdk/resources/messages";
import type { CallToolResult, ContentBlock } from "@modelcontextprotocol/client";
import type { ToolResult } from "../tool.ts";

type Block = Exclude<NonNullable<ToolResultBlockParam["content"]>, string>[number];

/** The most bytes of an image that Claude takes. */
const MAX_IMAGE_BYTES = 5 * 1024 * 1024;
/** The most bytes of a document: one request to Claude holds 32 MB. */
const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024;

/**
 * What a tool returned, for Claude. What Claude cannot read, such as sounds, is named, so that it knows that there is more.
 * What is meant for programs is added as JSON unless a text holds the same.
 */
export function toToolResult({ content, structuredContent, isError }: CallToolResult): ToolResult {
  const blocks = content.map(toBlock).filter((block) => block.type !== "text" || block.text !== "");
  if (structuredContent !== undefined && !blocks.some((block) => says(block, structuredContent))) {
    blocks.push(text(JSON.stringify(structuredContent)));
  }
  if (blocks.length === 0)
    blocks.push(text(isError ? "The tool failed, and did not say why." : "The tool returned nothing."));
  const [first, ...rest] = blocks;
  const single = first?.type === "text" && rest.length === 0 ? first.text : undefined;
  return { content: single ?? blocks, ...(isError && { isError }) };
}

function toBlock(block: ContentBlock): Block {
  switch (block.type) {
    case "text":
      return text(block.text);
    case "image":
      return binary(block.data) ?? leftOut("image", block.mimeType, block.data);
    case "audio":
      return leftOut("audio", block.mimeType, block.data);
    case "resource_link":
      return text(`[resource ${block.uri}${described(block.name, block.title, block.mimeType, block.description)}]`);
    case "resource": {
      const { resource } = block;
      if ("text" in resource)
        return text(`[resource ${resource.uri}${described(resource.mimeType)}]\n${resource.text}`);
      return binary(resource.blob) ?? leftOut(`resource ${resource.uri}`, resource.mimeType, resource.blob);
    }
  }
}

function described(...parts: readonly (string | undefined)[]): string {
  return parts.map((part) => (part ? `, ${part}` : "")).join("");
}

function leftOut(what: string, mediaType: string | undefined, base64: string): Block {
  return text(`[${what}${described(mediaType)}, ${byteLength(base64)} bytes, which cannot be shown]`);
}

function text(value: string): Block {
  return { type: "text", text: value };
}

/** Whether a block is a text that holds this value as JSON. */
function says(block: Block, value: unknown): boolean {
  if (block.type !== "text") return false;
  try {
    return isDeepStrictEqual(JSON.parse(block.text), value);
  } catch {
    return false;
  }
}

/** How the formats that Claude reads begin, in hexadecimal digits. */
const formats = [
  ["image/png", /^89504e470d0a1a0a/],
  ["image/jpeg", /^ffd8ff/],
  ["image/gif", /^47494638(37|39)61/],
  ["image/webp", /^52494646.{8}57454250/],
  ["application/pdf", /^255044462d/],
] as const;

/**
 * A block for Claude, by the content alone: Claude refuses the whole request when an image is not what it is said to be, and
 * servers get it wrong. Undefined: Claude cannot read it.
 */
function binary(base64: string): Block | undefined {
  if (base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  const start = Buffer.from(base64.slice(0, 16), "base64").toString("hex");
  const [mediaType] = formats.find(([, pattern]) => pattern.test(start)) ?? [];
  const bytes = byteLength(base64);
  if (mediaType === undefined) return undefined;
  if (mediaType === "application/pdf") {
    if (bytes > MAX_DOCUMENT_BYTES) return undefined;
    return { type: "document", source: { type: "base64", media_type: mediaType, data: base64 } };
  }
  if (bytes > MAX_IMAGE_BYTES) return undefined;
  return { type: "image", source: { type: "base64", media_type: mediaType, data: base64 } };
}

function byteLength(base64: string): number {
  return Buffer.byteLength(base64, "base64");
}
