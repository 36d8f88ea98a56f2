import assert from "node:assert/strict";
import { test } from "node:test";
import { LoopState } from "../../src/agent/loop-state.ts";
import { makePendingCalls } from "../../src/agent/pending-calls.ts";
import { ToolSlots } from "../../src/agent/tool-set.ts";
import { ScriptedTools } from "../support/scripted-tools.ts";
import { silentObserver } from "../support/silent-observer.ts";

test("no call is begun when the time is up", async () => {
  const tools = new ScriptedTools({ look: () => "seen" });
  const state = new LoopState([]);
  state.pending = [{ id: "a", name: "look", inputJson: "{}" }];
  const events = makePendingCalls(state, {
    tools: { find: (name) => tools.tools.find((tool) => tool.name === name), isCallers: () => false },
    slots: new ToolSlots(),
    maxParallel: 1,
    maxCalls: 1,
    context: { runId: "run_1", caller: { name: "anonymous", header: () => undefined } },
    limits: { signal: new AbortController().signal, deadline: performance.now() - 1, maxResultBytes: 1_024 },
    observer: silentObserver.loop,
    trace: undefined,
    onFault: () => {},
  });
  assert.deepEqual(await Array.fromAsync(events), []);
  assert.deepEqual(tools.calls, []);
  assert.equal(state.toolCalls, 0);
});
