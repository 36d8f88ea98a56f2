import assert from "node:assert/strict";
import { test } from "node:test";
import { create, equals, toJsonString } from "@bufbuild/protobuf";
import fc from "fast-check";
import {
  CacheTtl,
  CitationSchema,
  type ContentBlock,
  ContentBlockSchema,
  OversizedImage,
} from "../../gen/parley/v1/content_pb.js";
import { blockFromClaude } from "../../src/rpc/convert/blocks-from-claude.ts";
import { toClaudeBlock } from "../../src/rpc/convert/blocks-to-claude.ts";
import { members } from "../../src/upstream/raw-json.ts";
import { claudeBlock } from "../support/claude-blocks.ts";
import { jsonText, meaning, objectJsonText, stringifyExact } from "../support/json-text.ts";

test("every content block of Claude's, known and invented, comes back to Claude as it came", () => {
  fc.assert(
    fc.property(claudeBlock, (json) => {
      const returned = stringifyExact(toClaudeBlock(blockFromClaude(json), "block"));
      assert.deepEqual(meaning(returned), meaning(json));
    }),
    { numRuns: 2_000 },
  );
});

test("every content block of a caller's comes back to the caller as it came", () => {
  fc.assert(
    fc.property(parleyBlock(), (block) => {
      const returned = blockFromClaude(stringifyExact(toClaudeBlock(block, "block")));
      const text = (value: ContentBlock) => toJsonString(ContentBlockSchema, value);
      assert.ok(equals(ContentBlockSchema, returned, block), `${text(block)} came back as ${text(returned)}`);
    }),
    { numRuns: 2_000 },
  );
});

test("no name is special, not even those that every object of JavaScript has", () => {
  const json = '{"type":"text","text":"a","constructor":{"x":1},"__proto__":{"y":1},"toString":1}';
  assert.deepEqual(meaning(stringifyExact(toClaudeBlock(blockFromClaude(json), "block"))), meaning(json));
  const opaque = blockFromClaude('{"type":"constructor","valueOf":1}');
  assert.equal(opaque.kind.case === "opaque" && opaque.kind.value.type, "constructor");
});

test("the exact text of what must not be re-written is kept, byte for byte", () => {
  fc.assert(
    fc.property(jsonText, (text) => {
      const tool = blockFromClaude(`{"type":"tool_use","id":"t","name":"n","input":${text},"new":${text}}`);
      assert.equal(tool.kind.case === "toolUse" && tool.kind.value.inputJson, text.trim());
      assert.equal(members(stringifyExact(toClaudeBlock(tool, "block"))).get("input"), text.trim());
      assert.equal(tool.extraJson, `{"new":${text.trim()}}`);
      const unknown = `{"type":"of_tomorrow", "value":${text}}`;
      const opaque = blockFromClaude(unknown);
      assert.deepEqual(
        opaque.kind.case === "opaque" && opaque.kind.value.json,
        `{"type":"of_tomorrow","value":${text.trim()}}`,
      );
    }),
  );
});

/** Any block that a caller may send, in the one form of several that come to the same. */
function parleyBlock(): fc.Arbitrary<ContentBlock> {
  const text = fc.string();
  const name = fc.string({ minLength: 1 });
  const optional = fc.option(text, { nil: undefined });
  const int = fc.nat();
  const caller = fc.option(fc.record({ type: name, toolId: text }), { nil: undefined });
  const location = fc.oneof(
    fc
      .record({ documentIndex: int, documentTitle: optional, fileId: optional, startCharIndex: int, endCharIndex: int })
      .map((value) => ({ case: "charLocation" as const, value })),
    fc
      .record({
        documentIndex: int,
        documentTitle: optional,
        fileId: optional,
        startPageNumber: int,
        endPageNumber: int,
      })
      .map((value) => ({ case: "pageLocation" as const, value })),
    fc
      .record({
        documentIndex: int,
        documentTitle: optional,
        fileId: optional,
        startBlockIndex: int,
        endBlockIndex: int,
      })
      .map((value) => ({ case: "contentBlockLocation" as const, value })),
    fc
      .record({ url: text, title: optional, encryptedIndex: text })
      .map((value) => ({ case: "webSearchResultLocation" as const, value })),
    fc
      .record({ source: text, title: optional, searchResultIndex: int, startBlockIndex: int, endBlockIndex: int })
      .map((value) => ({ case: "searchResultLocation" as const, value })),
  );
  const citation = fc
    .record({ citedText: text, location, extraJson: extraJson() })
    .map((init) => create(CitationSchema, init));
  const media = fc.oneof(
    fc.record({ bytes: fc.uint8Array(), mediaType: name }).map(({ bytes, mediaType }) => ({
      source: { case: "data" as const, value: bytes as Uint8Array<ArrayBuffer> },
      mediaType,
    })),
    fc.record({ source: text.map((value) => ({ case: "url" as const, value })) }),
    fc.record({ source: text.map((value) => ({ case: "fileId" as const, value })) }),
  );
  const textKind = fc
    .record({ text, citations: fc.array(citation, { maxLength: 2 }) })
    .map((value) => ({ case: "text" as const, value }));
  const image = fc
    .record({
      source: media,
      oversizedImage: fc.constantFrom(OversizedImage.UNSPECIFIED, OversizedImage.DOWNSIZE, OversizedImage.ERROR),
    })
    .map((value) => ({ case: "image" as const, value }));
  const inner = block(fc.oneof(textKind, image));
  const input = objectJsonText.map((json) => json.trim());
  const call = { id: name, name, inputJson: input, caller };
  const textOrBlocks = fc.oneof(
    fc.record({ text: name }),
    fc.record({ content: fc.array(inner, { minLength: 1, maxLength: 2 }) }),
  );
  const kinds = fc.oneof(
    textKind,
    image,
    fc
      .record({
        source: fc.oneof(
          media.map((value) => ({ case: "media" as const, value })),
          text.map((value) => ({ case: "plainText" as const, value })),
          textOrBlocks.map((value) => ({ case: "content" as const, value })),
        ),
        title: optional,
        context: optional,
        citationsEnabled: fc.option(fc.boolean(), { nil: undefined }),
      })
      .map((value) => ({ case: "document" as const, value })),
    fc
      .record({
        source: text,
        title: text,
        content: fc.array(inner, { minLength: 1, maxLength: 2 }),
        citationsEnabled: fc.option(fc.boolean(), { nil: undefined }),
      })
      .map((value) => ({ case: "searchResult" as const, value })),
    fc.record({ thinking: text, signature: text }).map((value) => ({ case: "thinking" as const, value })),
    fc.record({ data: text }).map((value) => ({ case: "redactedThinking" as const, value })),
    fc.record({ ...call, toolsetName: optional }).map((value) => ({ case: "toolUse" as const, value })),
    fc
      .tuple(
        fc.record({ toolUseId: name, isError: fc.boolean(), toolsetName: optional }),
        fc.oneof(fc.constant({}), textOrBlocks),
      )
      .map(([result, content]) => ({ case: "toolResult" as const, value: { ...result, ...content } })),
    fc.record(call).map((value) => ({ case: "serverToolUse" as const, value })),
    fc
      .record({
        type: fc.constantFrom("web_search_tool_result", "of_tomorrow_tool_result"),
        toolUseId: text,
        contentJson: jsonText.map((json) => json.trim()).filter((json) => json !== "null"),
        caller,
      })
      .map((value) => ({ case: "serverToolResult" as const, value })),
    fc.record({ fileId: text }).map((value) => ({ case: "containerUpload" as const, value })),
  );
  const opaque = fc
    .tuple(fc.constantFrom("of_tomorrow", "mcp_tool_use"), objectJsonText)
    .map(([type, json]) =>
      create(ContentBlockSchema, { kind: { case: "opaque", value: { type, json: compact(type, json) } } }),
    );
  return fc.oneof({ weight: 9, arbitrary: block(kinds) }, { weight: 1, arbitrary: opaque });
}

function block(
  kind: fc.Arbitrary<NonNullable<Parameters<typeof create<typeof ContentBlockSchema>>[1]>["kind"]>,
): fc.Arbitrary<ContentBlock> {
  const ttl = fc.constantFrom(CacheTtl.CACHE_TTL_UNSPECIFIED, CacheTtl.CACHE_TTL_5M, CacheTtl.CACHE_TTL_1H);
  return fc
    .record({
      kind: kind as fc.Arbitrary<never>,
      cacheControl: fc.option(fc.record({ ttl }), { nil: undefined }),
      extraJson: extraJson(),
    })
    .map((init) => create(ContentBlockSchema, init));
}

/** Members that no message has a field for, in the form that Parley writes. */
function extraJson(): fc.Arbitrary<string> {
  const member = fc.tuple(
    fc.constantFrom("x_new", "x_other", "10"),
    jsonText.map((json) => json.trim()),
  );
  return fc.uniqueArray(member, { selector: ([name]) => name, maxLength: 2 }).map((entries) => {
    const ordered = entries.sort(([a], [b]) => Number(b === "10") - Number(a === "10"));
    return ordered.length === 0 ? "" : `{${ordered.map(([name, json]) => `"${name}":${json}`).join(",")}}`;
  });
}

function compact(type: string, json: string): string {
  return stringifyExact(
    toClaudeBlock(blockFromClaude(json === "{}" ? `{"type":"${type}"}` : `{"type":"${type}",${json.slice(1)}`), "b"),
  );
}
