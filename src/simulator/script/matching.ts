import type { IncomingHttpHeaders } from "node:http";
import { isObject } from "../request/schema/primitives.ts";
import type { Expectation } from "./format.ts";

/** What a step can expect of a request. */
export interface RequestFacts {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The body as JSON, or `undefined`. */
  readonly body: unknown;
}

/** How a request differs from what is expected, in words. Empty when it matches. */
export function findMismatches(expected: Expectation, request: RequestFacts): string[] {
  const problems: string[] = [];
  const compare = (name: string, want: unknown, got: unknown) => {
    if (want !== got) problems.push(`${name}: expected ${show(want)}, got ${show(got)}`);
  };
  if (expected.method !== undefined) compare("method", expected.method.toUpperCase(), request.method);
  if (expected.path !== undefined) compare("path", expected.path, request.path);
  for (const [name, want] of Object.entries(expected.headers ?? {})) {
    compare(`headers.${name}`, want, request.headers[name.toLowerCase()] ?? null);
  }
  if (expected.body !== undefined) compareParts("body", expected.body, request.body, problems);
  if (expected.contains !== undefined) {
    const text = lastUserText(request.body);
    if (!text.includes(expected.contains)) {
      problems.push(`contains: expected ${show(expected.contains)} in the last user message, got ${show(text)}`);
    }
  }
  return problems;
}

function compareParts(path: string, want: unknown, got: unknown, problems: string[]): void {
  if (isObject(want) && isObject(got)) {
    for (const [key, part] of Object.entries(want)) compareParts(`${path}.${key}`, part, got[key], problems);
  } else if (Array.isArray(want) && Array.isArray(got) && want.length === got.length) {
    for (const [index, part] of want.entries()) compareParts(`${path}.${index}`, part, got[index], problems);
  } else if (want !== got) {
    problems.push(`${path}: expected ${show(want)}, got ${show(got)}`);
  }
}

const SHOWN = 200;

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}

/** All text of the last user message, also that of tool results. */
function lastUserText(body: unknown): string {
  const messages = isObject(body) && Array.isArray(body.messages) ? body.messages : [];
  const last = messages.filter(isObject).findLast((message) => message.role === "user");
  return last ? textIn(last.content) : "";
}

function textIn(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  const texts = content
    .filter(isObject)
    .map((block) => (typeof block.text === "string" ? block.text : textIn(block.content)));
  return texts.join("\n");
}
