import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { AgentService } from "../../gen/parley/v1/agent_service_pb.js";
import { type Tool, ToolError, type ToolSource } from "../../src/tools/tool.ts";
import { messageEvents, streamedCall } from "../support/message-events.ts";
import { ask, assertGapless, calls, run, says, startAgents, watch } from "../support/runs.ts";
import { hang, ScriptedTools } from "../support/scripted-tools.ts";
import { type Service, startService } from "../support/service.ts";

type Json = Record<string, unknown>;

/** Content of the last message of the last request to Claude. */
function lastContent(service: Service): Json[] {
  const body = service.simulator.requests.at(-1)?.body as { messages: { content: Json[] }[] } | undefined;
  return body?.messages.at(-1)?.content ?? [];
}

/** What Claude was told of calls: by identifier, whether it is an error, and the text. */
function told(service: Service): [unknown, boolean, unknown][] {
  return lastContent(service).map((block) => [block.tool_use_id, block.is_error === true, block.content]);
}

function withoutBreakpoints(blocks: readonly Json[]): Json[] {
  return blocks.map(({ cache_control: _, ...block }) => block);
}

describe("all tool calls of a turn run at the same time", () => {
  test("each begins before any has ended", async () => {
    const tools: ScriptedTools = new ScriptedTools({
      meet: async ({ n }) => {
        await tools.begun(5);
        return `met ${n}`;
      },
    });
    const five = Array.from({ length: 5 }, (_, n) => ["meet", { n }] as const);
    await using service = await startAgents(tools, [calls(...five), says("Done.")]);
    const seen = await run(service, ask(tools));
    assert.equal(seen.text, "Done.");
    const kinds = seen.outline.filter((kind) => kind.startsWith("toolCall"));
    assert.deepEqual(kinds, [...Array(5).fill("toolCallStarted"), ...Array(5).fill("toolCallFinished")]);
  });

  test("their results go back in the order of the calls, whatever order they end in", async () => {
    const open = new Map<unknown, PromiseWithResolvers<void>>();
    const tools: ScriptedTools = new ScriptedTools({
      wait: async ({ n }) => {
        const gate = Promise.withResolvers<void>();
        open.set(n, gate);
        if (open.size === 4) open.get(2)?.resolve();
        await gate.promise;
        const next = new Map([
          [2, 0],
          [0, 3],
          [3, 1],
        ]).get(n as number);
        if (next !== undefined) open.get(next)?.resolve();
        return `result ${n}`;
      },
    });
    const four = Array.from({ length: 4 }, (_, n) => ["wait", { n }, `toolu_${n}`] as const);
    await using service = await startAgents(tools, [calls(...four), says("Done.")]);
    const seen = await run(service, ask(tools));
    assert.deepEqual(
      seen.of("toolCallFinished").map(({ toolUseId }) => toolUseId),
      ["toolu_2", "toolu_0", "toolu_3", "toolu_1"],
    );
    assert.deepEqual(
      told(service),
      [0, 1, 2, 3].map((n) => [`toolu_${n}`, false, `result ${n}`]),
    );
  });
});

describe("what one call does never touches another", () => {
  /** A tool of each sort, and what Claude is told of it. */
  const sorts: Record<string, { readonly expected: RegExp; readonly code?: Code; readonly tool: Partial<Tool> }> = {
    fails: {
      expected: /^out of stock$/,
      code: Code.FailedPrecondition,
      tool: { call: () => Promise.reject(new ToolError(Code.FailedPrecondition, "out of stock")) },
    },
    crashes: {
      expected: /^the tool failed$/,
      code: Code.Internal,
      tool: { call: () => Promise.reject(new TypeError("secret of the tool")) },
    },
    throws_at_once: {
      expected: /^the tool failed$/,
      code: Code.Internal,
      tool: {
        call: () => {
          throw new TypeError("secret of the tool");
        },
      },
    },
    throws_nothing: {
      expected: /^the tool failed$/,
      code: Code.Internal,
      tool: { call: () => Promise.reject(undefined) },
    },
    returns_nothing: {
      expected: /^the tool failed$/,
      code: Code.Internal,
      tool: { call: () => Promise.resolve(undefined as never) },
    },
    has_no_words: {
      expected: /^the tool failed$/,
      code: Code.Unknown,
      tool: { call: () => Promise.reject(new ToolError(Code.Unknown, "")) },
    },
    is_slow: {
      expected: /^the tool did not answer within \d+ ms$/,
      code: Code.DeadlineExceeded,
      tool: { timeoutMs: 20, call: (_, context) => hang(_, context) },
    },
    never_settles: {
      expected: /^the tool did not answer within \d+ ms$/,
      code: Code.DeadlineExceeded,
      tool: { timeoutMs: 20, call: () => new Promise(() => {}) },
    },
    says_that_it_failed: {
      expected: /^no such item$/,
      tool: { call: async () => ({ content: "no such item", isError: true }) },
    },
  };

  function source(tools: readonly Tool[]): ToolSource {
    return { tools, [Symbol.asyncDispose]: async () => {} };
  }

  function toolOf(name: string, traits: Partial<Tool>): Tool {
    return {
      name,
      description: "A tool.",
      inputSchemaJson: '{"type":"object"}',
      sideEffect: "none",
      requiresApproval: false,
      timeoutMs: 30_000,
      maxConcurrency: 10,
      call: async () => ({ content: "good" }),
      ...traits,
    };
  }

  const names = Object.keys(sorts);
  let service: Service;
  before(async () => {
    const bad = Object.entries(sorts).map(([name, { tool }]) => toolOf(name, tool));
    service = await startService({ overrides: { tools: source([toolOf("good", {}), ...bad]) } });
  });
  after(() => service[Symbol.asyncDispose]());

  for (const [name, { expected, code }] of Object.entries(sorts)) {
    test(`a tool that ${name.replaceAll("_", " ")}`, async () => {
      service.simulator.run({ steps: [calls(["good", {}, "a"], [name, {}, "b"], ["good", {}, "c"]), says("Done.")] });
      const seen = await run(service, ask(["good", ...names]));
      assert.equal(seen.text, "Done.");
      const [first, failed, last] = told(service);
      assert.deepEqual(
        [first, last].map((block) => block?.slice(0, 2)),
        [
          ["a", false],
          ["c", false],
        ],
      );
      assert.deepEqual(failed?.slice(0, 2), ["b", true]);
      assert.match(failed?.[2] as string, expected);
      const event = seen.of("toolCallFinished").find(({ toolUseId }) => toolUseId === "b");
      assert.equal(event?.result?.isError, true);
      assert.equal(event?.status?.code, code);
      assert.doesNotMatch(JSON.stringify(told(service)), /secret/);
    });
  }

  test("all of them in one turn", async () => {
    service.simulator.run({ steps: [calls(...[...names, "good"].map((name) => [name] as const)), says("Done.")] });
    const seen = await run(service, ask(["good", ...names]));
    assert.equal(seen.text, "Done.");
    assert.deepEqual(
      told(service).map(([, isError]) => isError),
      [...names.map(() => true), false],
    );
  });

  test("what a tool should not have thrown is in the log, without its words", async () => {
    service.simulator.run({ steps: [calls(["crashes"]), says("Done.")] });
    const seen = await run(service, ask(["good", ...names]));
    const line = await service.line(({ msg, run: id }) => msg === "a tool has thrown" && id === seen.id);
    assert.equal(line.tool, "crashes");
    assert.equal((line.err as Json).type, "TypeError");
    assert.doesNotMatch(JSON.stringify(service.logs), /secret/);
  });

  test("a tool that nobody has, and one that this run does not offer", async () => {
    service.simulator.run({
      steps: [calls(["nonsense", {}, "a"], ["crashes", {}, "b"], ["good", {}, "c"]), says("Done.")],
    });
    const seen = await run(service, ask(["good"]));
    assert.deepEqual(told(service), [
      ["a", true, "there is no tool nonsense"],
      ["b", true, "there is no tool crashes"],
      ["c", false, "good"],
    ]);
    // They were never begun.
    assert.deepEqual(
      seen.of("toolCallStarted").map(({ toolUseId }) => toolUseId),
      ["c"],
    );
    assert.equal(seen.of("toolCallFinished").length, 3);
    assert.equal(seen.finished.run.toolCalls, 1);
  });

  for (const input of ['{"n": 1', '["n"]', "12", '"n"', "null", '{"n": 01}']) {
    test(`arguments that are no JSON object: ${input}`, async () => {
      const respond = messageEvents([streamedCall("a", "good", input), streamedCall("b", "good", "")], "tool_use");
      service.simulator.run({ steps: [{ respond }, says("Done.")] });
      const seen = await run(service, ask(["good"]));
      assert.equal(seen.failure, undefined);
      assert.deepEqual(told(service), [
        ["a", true, "the arguments are no JSON object"],
        ["b", false, "good"],
      ]);
      assert.deepEqual(
        seen.of("toolCallStarted").map(({ toolUseId, inputJson }) => [toolUseId, inputJson]),
        [["b", "{}"]],
      );
    });
  }
});

describe("a tool that is late", () => {
  for (const [name, settle] of Object.entries({
    answers: (gate: PromiseWithResolvers<string>) => gate.resolve("late"),
    fails: (gate: PromiseWithResolvers<string>) => gate.reject(new Error("late")),
  })) {
    test(`and then ${name}, is not heard, nor is its progress`, async () => {
      const unhandled: unknown[] = [];
      const onUnhandled = (error: unknown) => unhandled.push(error);
      process.on("unhandledRejection", onUnhandled);
      const gate = Promise.withResolvers<string>();
      const release = Promise.withResolvers<string>();
      const tools = new ScriptedTools({
        late: [
          { timeoutMs: 20 },
          async (_, { progress }) => {
            progress("in time");
            try {
              return await gate.promise;
            } finally {
              progress("too late");
            }
          },
        ],
        // Keeps the turn open, so that there is something to hear.
        go: () => release.promise,
      });
      await using service = await startAgents(tools, [calls(["late", {}, "a"], ["go", {}, "b"]), says("Done.")]);
      const seen = await watch(service.client(AgentService).runAgent(ask(tools) as never), ({ event }) => {
        if (event.case !== "toolCallFinished" || event.value.toolUseId !== "a") return;
        settle(gate);
        setImmediate(() => release.resolve("went"));
      });
      process.off("unhandledRejection", onUnhandled);
      assert.deepEqual(unhandled, []);
      assert.match(String(told(service)[0]?.[2]), /did not answer within 20 ms/);
      assert.deepEqual(
        seen.of("toolCallProgress").map(({ message }) => message),
        ["in time"],
      );
      assert.equal(seen.of("toolCallFinished").length, 2);
      assertGapless(seen.events);
    });
  }

  test("is told to stop", async () => {
    const tools = new ScriptedTools({ late: [{ timeoutMs: 20 }, hang] });
    await using service = await startAgents(tools, [calls(["late"]), says("Done.")]);
    const seen = await run(service, ask(tools));
    assert.equal(seen.text, "Done.");
    assert.equal(tools.calls[0]?.context.signal.aborted, true);
    const timeout = seen.of("toolCallStarted")[0]?.timeout;
    assert.equal(timeout && durationMs(timeout), 20);
  });
});

/** Counts how many calls are in progress at a time. They go on when as many have begun as may, or all. */
function counted(limit: number, total: number) {
  let now = 0;
  let most = 0;
  let begun = 0;
  let waiting: (() => void)[] = [];
  const behaviour = async () => {
    begun++;
    now++;
    most = Math.max(most, now);
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.push(resolve);
    if (now >= limit || begun === total) {
      // Those that begin although they may not have the time to.
      setImmediate(() => {
        for (const go of waiting) go();
        waiting = [];
      });
    }
    await promise;
    now--;
    return "done";
  };
  return { behaviour, most: () => most, begun: () => begun };
}

describe("how many calls there are at a time", () => {
  for (const limit of [1, 3]) {
    test(`is bounded by the run: ${limit}`, async () => {
      const count = counted(limit, 9);
      const tools = new ScriptedTools({ work: count.behaviour });
      const nine = Array.from({ length: 9 }, (_, n) => ["work", { n }] as const);
      await using service = await startAgents(tools, [calls(...nine), says("Done.")]);
      const seen = await run(service, ask(tools, { maxParallelToolCalls: limit }));
      assert.equal(seen.text, "Done.");
      assert.equal(count.most(), limit);
      assert.equal(count.begun(), 9);
    });
  }

  test("is bounded by the configuration for runs that do not say", async () => {
    const count = counted(2, 6);
    const tools = new ScriptedTools({ work: count.behaviour });
    const six = Array.from({ length: 6 }, (_, n) => ["work", { n }] as const);
    const config = { runs: { defaults: { parallelToolCalls: 2 } } };
    await using service = await startAgents(tools, [calls(...six), says("Done.")], { config });
    assert.equal((await run(service, ask(tools))).text, "Done.");
    assert.equal(count.most(), 2);
  });

  test("is bounded by the tool, over all runs", async () => {
    const count = counted(3, 8);
    const tools = new ScriptedTools({ work: [{ maxConcurrency: 3 }, count.behaviour] });
    const four = Array.from({ length: 4 }, (_, n) => ["work", { n }] as const);
    const first = { ...calls(...four), expect: { contains: "Go." }, times: 2 };
    await using service = await startAgents(tools, undefined);
    service.simulator.run({ steps: [first, { ...says("Done."), times: 2 }], anyOrder: true });
    const both = await Promise.all([run(service, ask(tools)), run(service, ask(tools))]);
    assert.deepEqual(
      both.map(({ text }) => text),
      ["Done.", "Done."],
    );
    assert.equal(count.most(), 3);
    assert.equal(count.begun(), 8);
  });

  test("a call begins, and its time with it, when its turn has come", async () => {
    const tools: ScriptedTools = new ScriptedTools({ work: () => "done" });
    const three = Array.from({ length: 3 }, (_, n) => ["work", { n }] as const);
    await using service = await startAgents(tools, [calls(...three), says("Done.")]);
    const seen = await run(service, ask(tools, { maxParallelToolCalls: 1 }));
    const kinds = seen.outline.filter((kind) => kind.startsWith("toolCall"));
    assert.deepEqual(kinds, Array(3).fill(["toolCallStarted", "toolCallFinished"]).flat());
    for (const { timeout } of seen.of("toolCallStarted")) assert.equal(timeout && durationMs(timeout), 30_000);
  });
});

describe("a result", () => {
  const config = { runs: { resultBytes: 1_024 } };

  test("that is too long is cut, between characters, and says so", async () => {
    const tools = new ScriptedTools({ big: () => "€".repeat(10_000) });
    await using service = await startAgents(tools, [calls(["big"]), says("Done.")], { config });
    const seen = await run(service, ask(tools));
    const [[, isError, content] = []] = told(service);
    assert.equal(isError, false);
    assert.equal(content, `${"€".repeat(341)}\n[cut: the result has 30000 bytes, and these are the first 1024]`);
    const { kind } = seen.of("toolCallFinished")[0]?.result?.content[0] ?? {};
    assert.equal(kind?.case === "text" ? kind.value.text : seen.of("toolCallFinished")[0]?.result?.text, content);
  });

  test("is not cut when it just fits", async () => {
    const tools = new ScriptedTools({ fits: () => `${"€".repeat(341)}a` });
    await using service = await startAgents(tools, [calls(["fits"]), says("Done.")], { config });
    await run(service, ask(tools));
    assert.deepEqual(told(service)[0]?.[2], `${"€".repeat(341)}a`);
  });

  const texts = (...all: string[]) => all.map((text) => ({ type: "text" as const, text }));
  for (const [name, given, expected] of [
    [
      "in the middle of a block",
      ["a".repeat(1_000), "b".repeat(100)],
      ["a".repeat(1_000), `${"b".repeat(24)}\n[cut: the result has 100 bytes, and these are the first 24]`],
    ],
    [
      "between blocks",
      ["a".repeat(1_024), "b".repeat(100)],
      ["a".repeat(1_024), "\n[cut: the result has 100 bytes, and these are the first 0]"],
    ],
    [
      "where more blocks follow",
      ["a".repeat(2_000), "b", "c"],
      [`${"a".repeat(1_024)}\n[cut: the result has 2000 bytes, and these are the first 1024]`],
    ],
    ["where blocks are blank", ["", "a", " \n"], ["a"]],
  ] as const) {
    test(`of several blocks is cut ${name}`, async () => {
      const tools = new ScriptedTools({ big: () => ({ content: texts(...given) }) });
      await using service = await startAgents(tools, [calls(["big"]), says("Done.")], { config });
      await run(service, ask(tools));
      assert.deepEqual(told(service)[0]?.[2], texts(...expected));
    });
  }

  test("an error that is too long is cut, too", async () => {
    const tools = new ScriptedTools({
      big: () => Promise.reject(new ToolError(Code.Internal, "x".repeat(100_000))),
    });
    await using service = await startAgents(tools, [calls(["big"]), says("Done.")], { config });
    const seen = await run(service, ask(tools));
    const [[, isError, content] = []] = told(service);
    assert.equal(isError, true);
    assert.ok(String(content).startsWith(`${"x".repeat(1_024)}\n[cut: `));
    assert.ok((seen.of("toolCallFinished")[0]?.status?.message.length ?? 0) < 2_000);
  });

  test("may have blocks of other kinds, which stay as they are", async () => {
    const content = [
      { type: "text", text: "A picture:" },
      { type: "image", source: { type: "base64", media_type: "image/png", data: "a".repeat(2_000) } },
      { type: "text", text: "That was it." },
    ] as const;
    const tools = new ScriptedTools({ draw: () => ({ content: [...content] }) });
    await using service = await startAgents(tools, [calls(["draw"]), says("Done.")], { config });
    const seen = await run(service, ask(tools));
    assert.equal(seen.failure, undefined);
    assert.deepEqual(told(service)[0]?.[2], content);
    assert.deepEqual(
      seen.of("toolCallFinished")[0]?.result?.content.map(({ kind }) => kind.case),
      ["text", "image", "text"],
    );
  });

  for (const [name, content] of [
    ["no text", ""],
    ["no blocks", []],
  ] as const) {
    test(`may be nothing: ${name}`, async () => {
      const tools = new ScriptedTools({ quiet: () => ({ content: content === "" ? "" : [] }) });
      await using service = await startAgents(tools, [calls(["quiet", {}, "a"]), says("Done.")]);
      const seen = await run(service, ask(tools));
      assert.equal(seen.text, "Done.");
      assert.deepEqual(withoutBreakpoints(lastContent(service)), [{ type: "tool_result", tool_use_id: "a" }]);
    });
  }

  test("with halves of characters does no harm", async () => {
    const tools = new ScriptedTools({
      odd: (_, { progress }) => {
        progress("\ud83d");
        return "\ud83d";
      },
      wrong: () => Promise.reject(new ToolError(Code.Internal, "\ud83d")),
    });
    await using service = await startAgents(tools, [calls(["odd", {}, "a"], ["wrong", {}, "b"]), says("Done.")]);
    const seen = await run(service, ask(tools));
    assert.equal(seen.text, "Done.");
    assert.deepEqual(told(service), [
      ["a", false, "\ufffd"],
      ["b", true, "\ufffd"],
    ]);
    assert.equal(seen.of("toolCallProgress")[0]?.message, "\ufffd");
  });
});

test("reports of progress without end are bounded in number and length", async () => {
  const tools = new ScriptedTools({
    chatty(_, { progress }) {
      for (let n = 0; n < 1_500; n++) progress("x".repeat(2_000));
      return "done";
    },
  });
  await using service = await startAgents(tools, [calls(["chatty"]), says("Done.")]);
  const reports = (await run(service, ask(tools))).of("toolCallProgress");
  assert.equal(reports.length, 1_000);
  assert.ok(reports.every(({ message }) => message.length === 1_024));
});
