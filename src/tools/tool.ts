import type { ToolResultBlockParam } from "@anthropic-ai/sdk/resources/messages";
import type { Code } from "@connectrpc/connect";

/** What a call of a tool may change. `unknown` is treated as `mutating`. */
export type SideEffect = "unknown" | "none" | "idempotent" | "mutating";

/** A tool that Parley runs for Claude. */
export interface Tool {
  /** What Claude calls it: 1 to 128 letters, digits, `_` and `-`. */
  readonly name: string;
  /** What Claude is told of it. */
  readonly description: string;
  /** Exact JSON text of the JSON schema of the arguments. The same text each time: the prompt cache needs it. */
  readonly inputSchemaJson: string;
  readonly sideEffect: SideEffect;
  /** Whether a person must approve each call. */
  readonly requiresApproval: boolean;
  /** How long a call may take, in milliseconds. What is left of the run bounds it further. */
  readonly timeoutMs: number;
  /** The most calls at a time, of all runs in this process. */
  readonly maxConcurrency: number;
  /** The gRPC method that it calls, `pkg.v1.Service/Method`. Unset: it is none. */
  readonly grpcMethod?: string | undefined;

  /**
   * Calls the tool. It should stop when the signal is aborted; if it does not, its result is not waited for.
   *
   * @param inputJson the arguments: exact JSON text of an object, as Claude wrote it. Not yet checked against the schema.
   * @throws {ToolError} whose code and message Claude is told. Of any other error Claude is told nothing but that it
   * happened.
   */
  call(inputJson: string, context: ToolContext): Promise<ToolResult>;
}

/** What a call of a tool gets to know of the run that it is for. */
export interface ToolContext {
  /** Aborted when the call's time is up, or its run is cancelled. */
  readonly signal: AbortSignal;
  /** When the call must be over, by `performance.now()`. */
  readonly deadline: number;
  readonly runId: string;
  /** Claude's identifier of the call. The same when the call is made again after an interruption. */
  readonly toolUseId: string;
  readonly caller: ToolCaller;
  readonly trace: ToolTrace;
  /** Tells those who watch the run how far the call is. A short text for people. */
  progress(message: string): void;
}

/** The trace that a call of a tool is part of. */
export interface ToolTrace {
  /**
   * A request over gRPC begins. `method` is `pkg.v1.Service/Method`, `target` the address that the service has in the
   * configuration.
   */
  grpcRequest(method: string, target: string): TracedRequest;
  /** An MCP server is asked to call a tool, which it knows by this name. */
  mcpRequest(tool: string): TracedRequest;
}

/** A request to where a tool is. */
export interface TracedRequest {
  /** Headers that hand the trace on, by names in small letters. Empty: there is none. */
  readonly headers: Readonly<Record<string, string>>;
  /** The request is over. `errorType` is a short name of what it failed with; undefined: it did not. */
  ended(errorType?: string): void;
}

/** Whom a call is made for. */
export interface ToolCaller {
  /** Name of the caller of the run, or `anonymous`. */
  readonly name: string;
  /** Value of a header of the request that began the run, by its name in small letters. Undefined: there was none. */
  header(name: string): string | undefined;
}

/** What a tool returned. */
export interface ToolResult {
  /** A text, or content blocks, for Claude. */
  readonly content: NonNullable<ToolResultBlockParam["content"]>;
  /** Whether the tool says itself that it failed. */
  readonly isError?: boolean;
}

/** A call of a tool that failed. Its message is written for Claude, and for those who watch the run. */
export class ToolError extends Error {
  override readonly name = "ToolError";
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Where tools come from: a gRPC service, an MCP server, or this process. */
export interface ToolSource extends AsyncDisposable {
  /** The tools that it has at the moment. A source that is not connected yet has none, or those that it had before. */
  readonly tools: readonly Tool[];
}
