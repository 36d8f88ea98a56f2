import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import type { Simulator } from "../../src/simulator/simulator.ts";

/** The headers that every request needs. */
export const HEADERS: Readonly<Record<string, string>> = {
  authorization: "Bearer test-key",
  "anthropic-version": "2026-10-21",
  "content-type": "application/json",
};

export type Json = Record<string, unknown>;

/** A request that is accepted as it is. */
export function request(overrides: Json = {}): Json {
  return {
    model: "claude-opus-5-5",
    max_tokens: 1024,
    messages: [{ role: "user", content: "Hello, Claude" }],
    ...overrides,
  };
}

/** A request with one user message. */
export function ask(text: string, overrides: Json = {}): Json {
  return request({ messages: [{ role: "user", content: text }], ...overrides });
}

export async function post(simulator: Simulator, body: unknown, path = "/v1/messages"): Promise<Response> {
  return fetch(simulator.url + path, { method: "POST", headers: HEADERS, body: JSON.stringify(body) });
}

/** The answer to a request that must succeed. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes
export async function answer(simulator: Simulator, body: unknown, path?: string): Promise<any> {
  const response = await post(simulator, body, path);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status} ${text}`);
  return JSON.parse(text);
}

/** The error in a response, after checking its frame. */
export async function refusal(response: Response): Promise<{ type: string; message: string; details?: unknown }> {
  const body = (await response.json()) as Json & { request_id: string; error: { type: string; message: string } };
  assert.equal(body.type, "error");
  assert.equal(body.request_id, response.headers.get("request-id"));
  assert.match(body.request_id, /^req_/);
  return body.error;
}

export interface SseEvent {
  readonly event: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into events of many shapes
  readonly data: any;
}

/** The events of a complete stream. */
export function parseEvents(text: string): SseEvent[] {
  return text
    .split("\n\n")
    .filter((frame) => frame !== "")
    .map((frame) => {
      const lines = frame.split("\n");
      const event = lines.find((line) => line.startsWith("event: "))?.slice(7);
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      return { event, data: JSON.parse(data.join("\n")) };
    });
}

/** The events with which a streaming request is answered. */
export async function streamEvents(simulator: Simulator, body: Json): Promise<SseEvent[]> {
  const response = await post(simulator, { ...body, stream: true });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status} ${text}`);
  return parseEvents(text);
}

/** The real client. */
export function connect(simulator: Simulator): Anthropic {
  return new Anthropic({ apiKey: "test-key", baseURL: simulator.url, maxRetries: 0 });
}

/** A tool with one required text parameter. */
export const WEATHER_TOOL = {
  name: "get_weather",
  description: "Tells the weather.",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
} as const;
