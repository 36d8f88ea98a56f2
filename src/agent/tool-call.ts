import type { ToolResultBlockParam } from "@anthropic-ai/sdk/resources/messages";
import { type Tool, type ToolContext, ToolError, type ToolResult } from "../tools/tool.ts";
import { toolFailures } from "../tools/tool-failures.ts";
import type { ObservedToolCall } from "./loop-observer.ts";
import { timerAt } from "./timer-at.ts";

/** A tool call that Claude asked for. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** Exact JSON text. */
  readonly inputJson: string;
  /** Toolset of the tool, which its result must name too. */
  readonly toolset?: string | undefined;
}

/** How a tool call ended. */
export interface ToolOutcome {
  /** What Claude is given. */
  readonly result: ToolResultBlockParam;
  /** Why the call failed. Unset: it did not, although the tool may say of itself that it failed. */
  readonly failure?: ToolError;
  /** What a tool threw that it should not have: for the log. */
  readonly fault?: unknown;
}

export interface ToolCallLimits {
  /** Aborted when the run ends. */
  readonly signal: AbortSignal;
  /** When the call must be over, by `performance.now()`. */
  readonly deadline: number;
  /** The most bytes of the result's texts, or of the words of its failure. */
  readonly maxResultBytes: number;
}

/** How many reports of progress of one call are told, and how many characters of each, as ToolCallProgress promises. */
const MAX_REPORTS = 1_000;
const MAX_REPORT_LENGTH = 1_024;

/**
 * Calls a tool. Whatever it does, the call is over at its deadline, and tells Claude how it went.
 *
 * @throws the signal's reason when it is aborted, and nothing else.
 */
export async function callTool(
  tool: Tool,
  call: ToolCall,
  context: Omit<ToolContext, "signal" | "deadline" | "toolUseId" | "trace">,
  observed: Pick<ObservedToolCall, "run" | "trace">,
  { signal, deadline, maxResultBytes }: ToolCallLimits,
): Promise<ToolOutcome> {
  signal.throwIfAborted();
  const controller = new AbortController();
  const stopped = Promise.withResolvers<never>();
  const stop = (reason: unknown) => {
    controller.abort(reason);
    stopped.reject(reason);
  };
  const onAbort = () => stop(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const time = Math.max(0, deadline - performance.now());
  const timer = timerAt(deadline, () => stop(toolFailures.timedOut(time)));
  let reports = 0;
  const progress = (message: string) => {
    if (++reports <= MAX_REPORTS) context.progress(message.slice(0, MAX_REPORT_LENGTH).toWellFormed());
  };
  try {
    const called = observed.run(() =>
      tool.call(call.inputJson, {
        ...context,
        trace: observed.trace,
        progress,
        toolUseId: call.id,
        signal: controller.signal,
        deadline,
      }),
    );
    const { content, isError } = await Promise.race([called, stopped.promise]);
    return { result: toolResult(call, cut(content, maxResultBytes), isError) };
  } catch (error) {
    signal.throwIfAborted();
    return failed(call, error, maxResultBytes);
  } finally {
    // What a tool reports after its call is over concerns nobody.
    reports = MAX_REPORTS;
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

/** The outcome of a call that failed, or was never made. */
export function failed(call: ToolCall, error: unknown, maxBytes = Number.POSITIVE_INFINITY): ToolOutcome {
  if (!(error instanceof ToolError)) return { ...failed(call, toolFailures.crashed()), fault: error };
  const message = cutText(error.message, maxBytes) || "the tool failed";
  return { result: toolResult(call, message, true), failure: new ToolError(error.code, message) };
}

/** A result for Claude. */
function toolResult(call: ToolCall, content: ToolResult["content"], isError = false): ToolResultBlockParam {
  return {
    type: "tool_result",
    tool_use_id: call.id,
    ...(content.length > 0 && { content }),
    ...(isError && { is_error: true }),
    ...(call.toolset !== undefined && { toolset_name: call.toolset }),
  };
}

/** Cuts texts so that all of them together have at most so many bytes. Claude refuses blank ones. */
function cut(content: ToolResult["content"], maxBytes: number): ToolResult["content"] {
  if (typeof content === "string") return cutText(content, maxBytes);
  let left = maxBytes;
  const kept: Exclude<ToolResult["content"], string> = [];
  for (const block of content) {
    if (block.type !== "text") kept.push(block);
    else if (block.text.trim() !== "" && left >= 0) {
      kept.push({ ...block, text: cutText(block.text, left) });
      left -= Buffer.byteLength(block.text);
    }
  }
  return kept;
}

function cutText(text: string, maxBytes: number): string {
  const whole = text.toWellFormed();
  if (whole.length * 3 <= maxBytes) return whole;
  const bytes = Buffer.byteLength(whole);
  if (bytes <= maxBytes) return whole;
  const { read } = new TextEncoder().encodeInto(whole, new Uint8Array(maxBytes));
  return `${whole.slice(0, read)}\n[cut: the result has ${bytes} bytes, and these are the first ${maxBytes}]`;
}
