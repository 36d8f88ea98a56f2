import { Code } from "@connectrpc/connect";
import { ToolError } from "../tool.ts";

/** What ECMAScript has and TypeScript does not declare yet: the source texts of what is parsed, and exact texts of numbers. */
interface SourceTextJson {
  parse(text: string, reviver: (key: string, value: unknown, context: { readonly source: string }) => unknown): unknown;
  rawJSON(text: string): object;
}
const json = JSON as unknown as SourceTextJson;

/**
 * The arguments of a call, as Claude wrote them: numbers that JavaScript cannot hold, such as large integers, are put into
 * the request with their own text. The order of keys such as `"10"` and `"2"` is not kept, which means nothing to a server.
 *
 * @throws {ToolError} InvalidArgument when the text is no JSON object.
 */
export function parseArguments(inputJson: string): Record<string, unknown> {
  if (!/^\s*\{/.test(inputJson)) throw notAnObject();
  return parse(inputJson) as Record<string, unknown>;
}

function parse(text: string): unknown {
  try {
    return json.parse(text, (_, value, { source }) =>
      typeof value === "number" && String(value) !== source ? json.rawJSON(source) : value,
    );
  } catch (cause) {
    throw notAnObject(cause);
  }
}

function notAnObject(cause?: unknown): ToolError {
  return new ToolError(Code.InvalidArgument, "the arguments are no JSON object", { cause });
}
