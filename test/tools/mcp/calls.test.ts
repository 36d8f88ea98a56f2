import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { ToolError } from "../../../src/tools/tool.ts";
import {
  type McpMessage,
  type McpServerOptions,
  plainTool,
  startMcpServer,
  textResult,
} from "../../support/mcp-server.ts";
import { passedTrace } from "../../support/tool-trace.ts";
import { startSource } from "./source.ts";

/** What should end but does not fails. */
const PATIENCE = { timeout: 30_000 };

/** What Claude gets of a result of a tool. */
async function resultOf(result: object) {
  await using server = await startMcpServer({ answers: { "tools/call": () => ({ result }) } });
  await using source = startSource({ url: server.url });
  await source.listed();
  return await source.call("work");
}

const base64 = (...bytes: readonly (number | string)[]) =>
  Buffer.concat(bytes.map((part) => (typeof part === "string" ? Buffer.from(part) : Buffer.from([part])))).toString(
    "base64",
  );
const png = base64(0x89, "PNG\r\n", 0x1a, "\n", "the rest");
const image = (data: string, mimeType = "image/png") => ({ type: "image", data, mimeType });
const shown = (data: string, media_type = "image/png") => ({
  type: "image",
  source: { type: "base64", media_type, data },
});
const said = (text: string) => ({ type: "text", text });

const results: Record<string, { readonly result: object; readonly expected: object }> = {
  "a text": { result: { content: [said("hi")] }, expected: { content: "hi" } },
  texts: { result: { content: [said("a"), said(""), said("b")] }, expected: { content: [said("a"), said("b")] } },
  nothing: { result: { content: [] }, expected: { content: "The tool returned nothing." } },
  "an empty text": { result: { content: [said("")] }, expected: { content: "The tool returned nothing." } },
  "an error": { result: { content: [said("no")], isError: true }, expected: { content: "no", isError: true } },
  "an error without words": {
    result: { content: [], isError: true },
    expected: { content: "The tool failed, and did not say why.", isError: true },
  },
  "an image": { result: { content: [image(png)] }, expected: { content: [shown(png)] } },
  "an image of another type than is said": {
    result: { content: [image(base64(0xff, 0xd8, 0xff, 0xe0, "JFIF"), "image/png")] },
    expected: { content: [shown(base64(0xff, 0xd8, 0xff, 0xe0, "JFIF"), "image/jpeg")] },
  },
  "a GIF": {
    result: { content: [image(base64("GIF89a"))] },
    expected: { content: [shown(base64("GIF89a"), "image/gif")] },
  },
  "a WebP": {
    result: { content: [image(base64("RIFF1234WEBPVP8 "))] },
    expected: { content: [shown(base64("RIFF1234WEBPVP8 "), "image/webp")] },
  },
  "an image that Claude cannot read": {
    result: { content: [image(base64("<svg/>"), "image/svg+xml")] },
    expected: { content: "[image, image/svg+xml, 6 bytes, which cannot be shown]" },
  },
  "an image that is too large": {
    result: {
      content: [image(Buffer.concat([Buffer.from(png, "base64"), Buffer.alloc(5_300_000)]).toString("base64"))],
    },
    expected: { content: "[image, image/png, 5300016 bytes, which cannot be shown]" },
  },
  sound: {
    result: { content: [{ type: "audio", data: base64("12345678"), mimeType: "audio/wav" }] },
    expected: { content: "[audio, audio/wav, 8 bytes, which cannot be shown]" },
  },
  "a link": {
    result: {
      content: [{ type: "resource_link", uri: "file:///a", name: "A", mimeType: "text/plain", description: "the a" }],
    },
    expected: { content: "[resource file:///a, A, text/plain, the a]" },
  },
  "a resource that is a text": {
    result: { content: [{ type: "resource", resource: { uri: "file:///a", mimeType: "text/plain", text: "inside" } }] },
    expected: { content: "[resource file:///a, text/plain]\ninside" },
  },
  "a resource that is an image": {
    result: { content: [{ type: "resource", resource: { uri: "file:///a", blob: png } }] },
    expected: { content: [shown(png)] },
  },
  "a resource that is a PDF": {
    result: { content: [{ type: "resource", resource: { uri: "file:///a", blob: base64("%PDF-1.7") } }] },
    expected: {
      content: [
        { type: "document", source: { type: "base64", media_type: "application/pdf", data: base64("%PDF-1.7") } },
      ],
    },
  },
  "a resource of another kind": {
    result: {
      content: [{ type: "resource", resource: { uri: "file:///a", mimeType: "application/zip", blob: "AAAA" } }],
    },
    expected: { content: "[resource file:///a, application/zip, 3 bytes, which cannot be shown]" },
  },
  "structured content alone": {
    result: { content: [], structuredContent: { a: [1] } },
    expected: { content: '{"a":[1]}' },
  },
  "structured content that a text holds too": {
    result: { content: [said('{ "b": 2, "a": [1] }')], structuredContent: { a: [1], b: 2 } },
    expected: { content: '{ "b": 2, "a": [1] }' },
  },
  "structured content beside another text": {
    result: { content: [said("one found")], structuredContent: { a: 1 } },
    expected: { content: [said("one found"), said('{"a":1}')] },
  },
};
for (const [name, { result, expected }] of Object.entries(results)) {
  test(`a result that is ${name} is one that Claude can read`, PATIENCE, async () => {
    assert.deepEqual(await resultOf(result), expected);
  });
}

test("what does not keep to the output schema of its tool is told all the same", PATIENCE, async () => {
  const outputSchema = { type: "object", properties: { n: { type: "number" } }, required: ["n"] };
  await using server = await startMcpServer({ tools: [plainTool("work", { outputSchema })] });
  await using source = startSource({ url: server.url });
  await source.listed();
  assert.deepEqual(await source.call("work"), { content: "done" });
});

test("arguments arrive with numbers that JavaScript cannot hold", PATIENCE, async () => {
  await using server = await startMcpServer();
  await using source = startSource({ url: server.url });
  await source.listed();
  await source.call("work", '{"id":12345678901234567890,"nested":[{"x":1.0,"y":1e400}],"text":"12"}');
  const { text } = await server.message(({ method }) => method === "tools/call");
  assert.ok(text.includes('"arguments":{"id":12345678901234567890,"nested":[{"x":1.0,"y":1e400}],"text":"12"}'), text);
});

for (const input of ["", "{", "[]", "5", "12345678901234567890", "null", '"{}"', "{} {}"]) {
  test(`arguments that are ${JSON.stringify(input)} are refused before the server sees them`, PATIENCE, async () => {
    await using server = await startMcpServer();
    await using source = startSource({ url: server.url });
    await source.listed();
    const refused = (error: unknown) => error instanceof ToolError && error.code === Code.InvalidArgument;
    await assert.rejects(source.call("work", input), refused);
    assert.ok(!server.received.some(({ method }) => method === "tools/call"));
  });
}

const metaOf = (params: McpMessage["params"]) => (params?._meta ?? {}) as Record<string, unknown>;

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const traces: readonly Readonly<Record<string, string>>[] = [{}, { traceparent }, { traceparent, tracestate: "a=b" }];
for (const headers of traces) {
  test(`the call belongs to the trace of its run: ${JSON.stringify(headers)}`, PATIENCE, async () => {
    await using server = await startMcpServer();
    await using source = startSource({ url: server.url });
    await source.listed();
    const caller = { name: "a", header: (name: string) => ({ authorization: "secret" })[name] };
    await source.call("work", {}, { caller, trace: passedTrace(headers) });
    const { params, text } = await server.message(({ method }) => method === "tools/call");
    const { progressToken, ...meta } = metaOf(params);
    assert.notEqual(progressToken, undefined);
    assert.deepEqual(meta, headers);
    assert.doesNotMatch(text, /secret/);
  });
}

test("progress is told in the server's words, or in its numbers", PATIENCE, async () => {
  await using server = await startMcpServer({
    answers: {
      "tools/call": ({ id, params }) => {
        const { progressToken } = metaOf(params);
        const progress = (more: object) => ({ method: "notifications/progress", params: { progressToken, ...more } });
        return {
          stream: [
            progress({ progress: 1, total: 4 }),
            progress({ progress: 2.5 }),
            progress({ progress: 3, message: "nearly" }),
            progress({ progress: 4, message: "x".repeat(5_000) }),
            { method: "notifications/message", params: { level: "info", data: "no progress" } },
            { id, ...textResult("done") },
          ],
        };
      },
    },
  });
  await using source = startSource({ url: server.url });
  await source.listed();
  const told: string[] = [];
  await source.call("work", {}, { progress: (message) => told.push(message) });
  assert.deepEqual(told, ["1 of 4", "2.5", "nearly", "x".repeat(1_000)]);
});

for (const method of ["elicitation/create", "sampling/createMessage", "roots/list"]) {
  test(`a server that asks for ${method} is told that there is no such thing`, PATIENCE, async () => {
    await using server = await startMcpServer();
    await using source = startSource({ url: server.url });
    await source.listed();
    await server.push({
      id: "q1",
      method,
      params: { message: "?", requestedSchema: { type: "object", properties: {} } },
    });
    const answer = await server.message(({ id, error }) => id === "q1" && error !== undefined);
    assert.equal(answer.error?.code, -32601);
    const [initialize] = server.received.filter((message) => message.method === "initialize");
    assert.deepEqual(initialize?.params?.capabilities, {});
  });
}

const modern: McpServerOptions = { isModern: true };

test("a server that speaks the newest MCP only is used by it", PATIENCE, async () => {
  await using server = await startMcpServer(modern);
  await using source = startSource({ url: server.url });
  assert.deepEqual(await source.listed(), ["test__work"]);
  assert.deepEqual(await source.call("work"), { content: "done" });
  server.tools = [plainTool("new")];
  await server.push({
    method: "notifications/tools/list_changed",
    params: { _meta: { "io.modelcontextprotocol/subscriptionId": "listen:0" } },
  });
  assert.deepEqual(await source.listed(2), ["test__new"]);
  assert.ok(!server.received.some(({ method }) => method === "initialize"));
});

test("a call by the newest MCP is cancelled by closing its connection", PATIENCE, async () => {
  await using server = await startMcpServer({ ...modern, answers: { "tools/call": () => "nothing" } });
  await using source = startSource({ url: server.url });
  await source.listed();
  const controller = new AbortController();
  const called = source.call("work", {}, { signal: controller.signal });
  const request = await server.message(({ method }) => method === "tools/call");
  controller.abort(new Error("cancelled"));
  await assert.rejects(called, /cancelled/);
  await request.closed;
});

test("a tool that asks for input in the middle of a call fails it", PATIENCE, async () => {
  const inputRequests = {
    a: { method: "elicitation/create", params: { message: "?", requestedSchema: { type: "object", properties: {} } } },
  };
  const result = { resultType: "input_required", inputRequests, requestState: "s" };
  await using server = await startMcpServer({ ...modern, answers: { "tools/call": () => ({ result }) } });
  await using source = startSource({ url: server.url });
  await source.listed();
  const refused = (error: unknown) => error instanceof ToolError && error.code === Code.FailedPrecondition;
  await assert.rejects(source.call("work"), refused);
});
