import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { MessageParam } from "@anthropic-ai/sdk/resources/messages";
import { assistantMessage, toolCalls, withNotice } from "../../src/agent/history.ts";
import { Answer } from "../../src/upstream/answer.ts";
import { RawJson, restoreRawJson } from "../../src/upstream/raw-json.ts";
import { parseEvent } from "../../src/upstream/stream-event.ts";

type Content = Exclude<MessageParam["content"], string>;

const user = (...content: unknown[]): MessageParam => ({ role: "user", content: content as Content });
const assistant = (...content: unknown[]): MessageParam => ({ role: "assistant", content: content as Content });
const raw = (block: object) => new RawJson(JSON.stringify(block));
const system: MessageParam = { role: "system", content: "Be brief." };
const text = (value: string) => ({ type: "text", text: value });
const notice = text("That is all.");
const search = { type: "server_tool_use", id: "s", name: "web_search", input: {} };
const found = { type: "web_search_tool_result", tool_use_id: "s", content: [] };
const thinking = { type: "thinking", thinking: "Hm.", signature: "x" };

describe("a word to Claude", () => {
  const rows: Record<string, readonly [MessageParam[], MessageParam[]]> = {
    "goes into the message that Claude is to answer": [[user(text("Go."))], [user(text("Go."), notice)]],
    "goes after a message that is a plain text": [[{ role: "user", content: "Go." }], [user(text("Go."), notice)]],
    "goes after results, which must come first": [
      [user(text("Go.")), assistant({ type: "tool_use" }), user({ type: "tool_result" })],
      [user(text("Go.")), assistant({ type: "tool_use" }), user({ type: "tool_result" }, notice)],
    ],
    "follows what Claude was to go on with": [
      [user(text("Go.")), assistant(text("It is"))],
      [user(text("Go.")), assistant(text("It is")), user(notice)],
    ],
    "follows what Claude was to go on with, as a plain text": [
      [user(text("Go.")), { role: "assistant", content: "It is" }],
      [user(text("Go.")), assistant(text("It is")), user(notice)],
    ],
    "takes off the calls that only Claude could answer": [
      [user(text("Go.")), assistant(text("I search."), raw(thinking), raw(search))],
      [user(text("Go.")), assistant(text("I search.")), user(notice)],
    ],
    "keeps calls that are answered": [
      [user(text("Go.")), assistant(raw(search), raw(found))],
      [user(text("Go.")), assistant(raw(search), raw(found)), user(notice)],
    ],
    "waits while a server tool is at work, before whose result only results may come": [
      [user(text("Go.")), assistant(raw(search), raw({ type: "tool_use" })), user({ type: "tool_result" })],
      [user(text("Go.")), assistant(raw(search), raw({ type: "tool_use" })), user({ type: "tool_result" })],
    ],
    "takes off a whole message with nothing else": [
      [user(text("Go.")), assistant(raw(thinking), raw(search))],
      [user(text("Go."), notice)],
    ],
    "takes off several": [
      [user(text("Go.")), assistant(text("I search."), raw(search)), assistant(raw(thinking), search)],
      [user(text("Go.")), assistant(text("I search.")), user(notice)],
    ],
    "goes before a message of the system, after which Claude takes none of the user": [
      [user(text("Go.")), system],
      [user(text("Go."), notice), system],
    ],
    "goes between what Claude has found and a message of the system": [
      [user(text("Go.")), assistant(raw(search), raw(found)), system],
      [user(text("Go.")), assistant(raw(search), raw(found)), user(notice), system],
    ],
    "takes off what follows a message of the system": [
      [user(text("Go.")), system, assistant(raw(search))],
      [user(text("Go."), notice), system],
    ],
  };
  for (const [name, [before, expected]] of Object.entries(rows)) {
    test(name, () => {
      const given = structuredClone(before.map(({ role }) => role));
      assert.deepEqual(withNotice(before, notice.text), expected);
      // The history itself goes on without it.
      assert.deepEqual(
        before.map(({ role }) => role),
        given,
      );
    });
  }
});

function answerOf(...blocks: string[]): Answer {
  const answer = new Answer(undefined);
  answer.add(parseEvent('{"type":"message_start","message":{"content":[],"usage":{}}}'));
  for (const [index, block] of blocks.entries()) {
    answer.add(parseEvent(`{"type":"content_block_start","index":${index},"content_block":${block}}`));
  }
  return answer;
}

const sent = (message: MessageParam) => restoreRawJson(JSON.stringify(message.content));

describe("Claude's answer goes back", () => {
  test("byte for byte", () => {
    const blocks = [
      '{"type":"thinking","thinking":"a\\u00e9","signature":"x=="}',
      '{ "type":"of_tomorrow" ,"10":1.0,"2":12345678901234567890}',
      '{"type":"tool_use","id":"a","name":"look","input":{ "n":1.50 }}',
    ];
    const content = sent(assistantMessage(answerOf(...blocks)));
    for (const part of ['"a\\u00e9"', '"10":1.0,"2":12345678901234567890', '"input":{ "n":1.50 }']) {
      assert.ok(content.includes(part), `${content} has no ${part}`);
    }
  });

  test("without texts that are blank", () => {
    const message = assistantMessage(
      answerOf('{"type":"text","text":""}', '{"type":"text","text":" \\n"}', '{"type":"text","text":" a "}'),
    );
    assert.equal(sent(message), '[{"type":"text","text":" a "}]');
  });

  test("without arguments that would make the request none", () => {
    for (const input of ["12", "[1]", "null", '"n"']) {
      const message = assistantMessage(answerOf(`{"type":"tool_use","id":"a","name":"look","input":${input}}`));
      assert.equal(sent(message), '[{"type":"tool_use","id":"a","name":"look","input":{}}]');
    }
  });
});

test("the calls of an answer are those that somebody else than Claude is to answer, in their order", () => {
  const calls = toolCalls(
    answerOf(
      JSON.stringify(search),
      '{"type":"tool_use","id":"a","name":"look","input":{"n":1}}',
      '{"type":"text","text":"and"}',
      '{"type":"tool_use","id":"b","name":"click","input":{},"toolset_name":"browser"}',
      '{"type":"tool_use","id":"c","name":"look"}',
    ),
  );
  assert.deepEqual(calls, [
    { id: "a", name: "look", inputJson: '{"n":1}', toolset: undefined },
    { id: "b", name: "click", inputJson: "{}", toolset: "browser" },
    { id: "c", name: "look", inputJson: "{}", toolset: undefined },
  ]);
});
