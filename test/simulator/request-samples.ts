import { type Json, request, WEATHER_TOOL } from "./client.ts";

/** A request whose one user message holds these blocks. */
export const content = (...blocks: Json[]) => request({ messages: [{ role: "user", content: blocks }] });
export const text = (extra: Json = {}) => ({ type: "text", text: "Hi", ...extra });
/** A request with these tools. */
export const tools = (...list: unknown[]) => request({ tools: list });
export const tool = (extra: Json = {}) => ({ ...WEATHER_TOOL, ...extra });
/** A request with a tool that has this schema. */
export const schema = (input_schema: Json) => tools(tool({ input_schema }));
/** A request for JSON of this schema. */
export const format = (value: Json) => request({ output_config: { format: { type: "json_schema", schema: value } } });
export const ephemeral = { type: "ephemeral" };
export const use = (id: string, extra: Json = {}) => ({
  type: "tool_use",
  id,
  name: "get_weather",
  input: {},
  ...extra,
});
export const result = (id: string, extra: Json = {}) => ({
  type: "tool_result",
  tool_use_id: id,
  content: "fine",
  ...extra,
});
export const search = (id: string) => ({ type: "server_tool_use", id, name: "web_search", input: { query: "x" } });
/** A request with these messages. */
export const talk = (...messages: [role: string, content: unknown][]) =>
  request({ messages: messages.map(([role, content]) => ({ role, content })) });
/** A model with a budget for thinking, prefill, and no effort levels. */
export const early = { model: "claude-haiku-4-5" };
