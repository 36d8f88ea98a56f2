import type { ToolTrace } from "../../src/tools/tool.ts";

/** A trace without spans of its own: the headers that hand it on are those given. */
export function passedTrace(headers: Readonly<Record<string, string | undefined>> = {}): ToolTrace {
  const known = Object.entries(headers).filter(([name]) => name === "traceparent" || name === "tracestate");
  const request = () => ({ headers: Object.fromEntries(known) as Record<string, string>, ended() {} });
  return { grpcRequest: request, mcpRequest: request };
}
