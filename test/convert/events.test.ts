import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import {
  type ContentBlockDelta,
  type MessageDelta,
  StopReason,
  type StreamChatResponse,
} from "../../gen/parley/v1/chat_service_pb.js";
import { ContentBlockSchema } from "../../gen/parley/v1/content_pb.js";
import type { Usage } from "../../gen/parley/v1/usage_pb.js";
import { toClaudeBlock } from "../../src/rpc/convert/blocks-to-claude.ts";
import { eventFromClaude } from "../../src/rpc/convert/events.ts";
import { withExtra } from "../../src/rpc/convert/exact.ts";
import { Reader } from "../../src/rpc/convert/reader.ts";
import { usageFromClaude } from "../../src/rpc/convert/response.ts";
import { RawJson } from "../../src/upstream/raw-json.ts";
import { parseEvent } from "../../src/upstream/stream-event.ts";
import { claudeEvent } from "../support/claude-events.ts";
import { meaning, stringifyExact } from "../support/json-text.ts";

test("every event of Claude's, known and invented, tells the caller all that it told Parley", () => {
  fc.assert(
    fc.property(claudeEvent, (json) => {
      const response = eventFromClaude(parseEvent(json), "req_1");
      assert.deepEqual(meaning(eventToClaude(response)), meaning(json));
    }),
    { numRuns: 3_000 },
  );
});

test("an event of a known kind that has not its form comes out whole, as opaque", () => {
  const odd = [
    '{"type":"message_start"}',
    '{"type":"message_start","message":{"id":7}}',
    '{"type":"content_block_start","index":0,"content_block":[]}',
    '{"type":"message_delta","delta":[],"usage":{}}',
  ];
  for (const json of odd) {
    const { event } = eventFromClaude(parseEvent(json), undefined);
    assert.deepEqual(event.case === "opaque" && { type: event.value.type, json: event.value.json }, {
      type: JSON.parse(json).type,
      json,
    });
  }
});

test("no kind is special that every object of JavaScript has a member of", () => {
  for (const kind of ["constructor", "toString", "__proto__"]) {
    const delta = `{"type":"${kind}","text":"t"}`;
    const json = `{"type":"content_block_delta","index":0,"delta":${delta}}`;
    const { event } = eventFromClaude(parseEvent(json), undefined);
    assert.deepEqual(
      event.case === "contentBlockDelta" && event.value.delta.case === "opaque" && event.value.delta.value.json,
      delta,
    );
    const stop = `{"type":"message_delta","delta":{"stop_reason":"${kind}"},"usage":{}}`;
    const { event: stopped } = eventFromClaude(parseEvent(stop), undefined);
    assert.ok(stopped.case === "messageDelta");
    assert.equal(stopped.value.stopReason, StopReason.UNSPECIFIED);
    assert.equal(stopped.value.rawStopReason, kind);
  }
});

test("a container whose skills say more than the proto has room for stays as it is", () => {
  const container =
    '{"id":"c","expires_at":"2026-01-01T00:00:00Z","skills":[{"skill_id":"s","type":"custom","version":"1","new":1}]}';
  const json = `{"type":"message_delta","delta":{"stop_reason":"end_turn","container":${container}},"usage":{}}`;
  const { extraJson } = eventFromClaude(parseEvent(json), undefined);
  assert.equal(extraJson, `{"delta":{"container":${container}}}`);
});

test("usage that the proto knows leaves nothing over, and what does not fit stays where it was", () => {
  const known = {
    input_tokens: 1,
    output_tokens: 2,
    cache_creation_input_tokens: 3,
    cache_read_input_tokens: 4,
    cache_creation: { ephemeral_5m_input_tokens: 5, ephemeral_1h_input_tokens: 6 },
    output_tokens_details: { thinking_tokens: 7 },
    server_tool_use: { web_search_requests: 8, web_fetch_requests: 9 },
    service_tier: "standard",
    speed: "fast",
    inference_geo: "us",
  };
  assert.equal(usageFromClaude(Reader.of(JSON.stringify(known))).extraJson, "");
  const odd = {
    ...known,
    server_tool_use: { web_search_requests: 8, web_fetch_requests: "many" },
    cache_creation: 5,
    input_tokens: -1,
  };
  const { extraJson, webSearchRequests, webFetchRequests } = usageFromClaude(Reader.of(JSON.stringify(odd)));
  assert.deepEqual(JSON.parse(extraJson), {
    input_tokens: -1,
    cache_creation: 5,
    server_tool_use: { web_fetch_requests: "many" },
  });
  assert.deepEqual([webSearchRequests, webFetchRequests], [8, undefined]);
});

/** The way back, which only this test needs: what a caller can say of an event that it got. */
function eventToClaude({ event, extraJson }: StreamChatResponse): string {
  switch (event.case) {
    case "messageStart": {
      const { id, model, usage } = event.value;
      assert.equal(event.value.upstreamRequestId, "req_1");
      const message = { id, type: "message", role: "assistant", model, content: [], usage: usageToClaude(usage) };
      return exact({ type: "message_start", message }, extraJson);
    }
    case "contentBlockStart": {
      const content_block = event.value.contentBlock && toClaudeBlock(event.value.contentBlock, "block");
      return exact({ type: "content_block_start", index: event.value.index, content_block }, extraJson);
    }
    case "contentBlockDelta":
      return exact(
        { type: "content_block_delta", index: event.value.index, delta: deltaToClaude(event.value.delta) },
        extraJson,
      );
    case "contentBlockStop":
      return exact({ type: "content_block_stop", index: event.value.index }, extraJson);
    case "messageDelta":
      return exact(
        { type: "message_delta", delta: stopToClaude(event.value), usage: usageToClaude(event.value.usage) },
        extraJson,
      );
    case "messageStop":
      return exact({ type: "message_stop" }, extraJson);
    case "opaque":
      return event.value.json;
    default:
      throw new Error(`unexpected ${event.case}`);
  }
}

function exact(value: object, extraJson: string): string {
  return stringifyExact(withExtra(value, extraJson, "extra_json"));
}

function deltaToClaude(delta: ContentBlockDelta["delta"]): object {
  switch (delta.case) {
    case "text":
      return { type: "text_delta", text: delta.value };
    case "partialJson":
      return { type: "input_json_delta", partial_json: delta.value };
    case "thinking":
      return { type: "thinking_delta", thinking: delta.value };
    case "signature":
      return { type: "signature_delta", signature: delta.value };
    case "citation": {
      const block = create(ContentBlockSchema, { kind: { case: "text", value: { citations: [delta.value] } } });
      const { citations } = toClaudeBlock(block, "block") as unknown as { citations: [unknown] };
      return { type: "citations_delta", citation: citations[0] };
    }
    case "opaque":
      return new RawJson(delta.value.json);
    default:
      throw new Error("a delta without a kind");
  }
}

function stopToClaude({ rawStopReason, stopSequence, stopDetails, container }: MessageDelta): object {
  return {
    stop_reason: rawStopReason || null,
    stop_sequence: stopSequence ?? null,
    stop_details:
      stopDetails === undefined
        ? null
        : withExtra(
            {
              type: stopDetails.type,
              category: stopDetails.category ?? null,
              explanation: stopDetails.explanation ?? null,
            },
            stopDetails.extraJson,
            "extra_json",
          ),
    container:
      container === undefined
        ? null
        : {
            id: container.id,
            expires_at: container.expireTime && timestampDate(container.expireTime).toISOString(),
            skills:
              container.skills.length === 0
                ? null
                : container.skills.map(({ skillId, type, version }) => ({ skill_id: skillId, type, version })),
          },
  };
}

function usageToClaude(usage: Usage | undefined): object {
  assert.ok(usage);
  const told = (members: Record<string, unknown>) =>
    Object.values(members).some((value) => value !== undefined) ? members : null;
  const typed = {
    input_tokens: usage.inputTokens,
    output_tokens: usage.outputTokens,
    cache_creation_input_tokens: usage.cacheCreationInputTokens,
    cache_read_input_tokens: usage.cacheReadInputTokens,
    cache_creation: told({
      ephemeral_5m_input_tokens: usage.cacheCreation5mInputTokens,
      ephemeral_1h_input_tokens: usage.cacheCreation1hInputTokens,
    }),
    output_tokens_details: told({ thinking_tokens: usage.thinkingTokens }),
    server_tool_use: told({ web_search_requests: usage.webSearchRequests, web_fetch_requests: usage.webFetchRequests }),
    service_tier: usage.serviceTier || null,
    speed: usage.speed || null,
    inference_geo: usage.inferenceGeo || null,
  };
  return withExtra(typed, usage.extraJson, "extra_json");
}
