import { setTimeout as sleep } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import type { McpServerConfig } from "../../config/tools-schema.ts";
import type { Tool, ToolContext, ToolResult, ToolSource } from "../tool.ts";
import { parseArguments } from "./arguments.ts";
import { McpConnection } from "./connection.ts";
import { type McpToolDefinition, toDefinitions } from "./definitions.ts";
import { toCallFailure, unavailable } from "./tool-failure.ts";
import { toToolResult } from "./tool-result.ts";
import { waitFor } from "./wait-for.ts";

/** Something about a server that its operator should know. */
export interface McpProblem {
  /** Name of the server. */
  readonly server: string;
  readonly message: string;
  /** What was thrown. */
  readonly cause?: unknown;
}

export interface McpOptions {
  /** Told of servers that cannot be reached (once, until the reason is another one) and of tools that are left out. */
  readonly onProblem: (problem: McpProblem) => void;
  /** Told each time that the tools of a server were listed. */
  readonly onTools?: (server: string, tools: readonly Tool[]) => void;
}

/** The longest wait before a server is connected to again: the first is drawn from 0 to BASE, each further one from twice as much. */
const MAX_BACK_OFF_MS = 30_000;
const BASE_BACK_OFF_MS = 500;
/** A connection that held for so long was a good one: when it is lost, the next is made at once. */
const GOOD_CONNECTION_MS = 10_000;
/** The least time between two listings, for servers that tell of changes all the time. */
const LISTING_PAUSE_MS = 1_000;
/** How often a call is made at the most, and how long it waits before the second time at the most. */
const MAX_ATTEMPTS = 3;
const RETRY_DELAY_MS = 200;

/** All configured servers as sources of tools. */
export function mcpToolSources(configs: readonly McpServerConfig[], options: McpOptions): ToolSource[] {
  return configs.map((config) => createMcpTools(config, options));
}

/**
 * The tools of an MCP server, by the names `<name of the server>__<tool>`. Connects in the background, and again whenever the
 * connection is lost. Until then the tools that were last known remain, and calls of them wait for the connection for as
 * long as connecting may take.
 */
export function createMcpTools(config: McpServerConfig, options: McpOptions): ToolSource {
  return new McpToolSource(config, options);
}

class McpToolSource implements ToolSource {
  tools: readonly Tool[] = [];
  readonly #config: McpServerConfig;
  readonly #options: McpOptions;
  readonly #lifetime = new AbortController();
  readonly #running: Promise<void>;
  /** Connections that are no longer used for new calls. */
  readonly #retired = new Set<Promise<void>>();
  /** The connection for new calls. */
  #connection: McpConnection | undefined;
  /** Resolves with the next one, where there is none. */
  #next = Promise.withResolvers<McpConnection>();
  #lastFailure: string | undefined;
  /** What was wrong with the tools when they were listed last. */
  #listingProblems: ReadonlySet<string> = new Set();

  constructor(config: McpServerConfig, options: McpOptions) {
    this.#config = config;
    this.#options = options;
    this.#running = this.#run(this.#lifetime.signal);
  }

  /** Keeps a connection until the end of this source. */
  async #run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      const began = performance.now();
      const failure = await this.#serve(signal).catch((error: unknown) => error);
      if (signal.aborted) return;
      this.#tellFailure(failure);
      failures = performance.now() - began >= GOOD_CONNECTION_MS ? 0 : failures + 1;
      const backOff = failures === 0 ? 0 : Math.min(MAX_BACK_OFF_MS, BASE_BACK_OFF_MS * 2 ** (failures - 1));
      await sleep(Math.random() * backOff, undefined, { signal }).catch(() => {});
    }
  }

  /** Keeps one connection, and the list of tools with it. Rejects when that is lost, or cannot be had. */
  async #serve(signal: AbortSignal): Promise<never> {
    const lost = new AbortController();
    const ends = AbortSignal.any([signal, lost.signal]);
    let changed = Promise.withResolvers<void>();
    const onDoubt = (reason: unknown) => {
      // Calls that were under way may find it out again, when there is another connection.
      if (lost.signal.aborted) return;
      lost.abort(reason);
      // At once, so that a call that found out waits for the next connection.
      this.#disconnect();
    };
    const events = { onToolsChanged: () => changed.resolve(), onDoubt };
    const connection = await McpConnection.open(this.#config, events, signal);
    try {
      for (let isFirst = true; ; isFirst = false) {
        changed = Promise.withResolvers();
        await this.#list(connection, ends);
        this.#connect(connection);
        await waitFor(changed.promise, ends, this.#config.refresh);
        if (!isFirst) await sleep(LISTING_PAUSE_MS, undefined, { signal: ends });
      }
    } catch (error) {
      throw lost.signal.aborted ? lost.signal.reason : error;
    } finally {
      this.#disconnect();
      this.#retire(connection, signal);
    }
  }

  #connect(connection: McpConnection): void {
    this.#lastFailure = undefined;
    this.#connection = connection;
    this.#next.resolve(connection);
  }

  #disconnect(): void {
    if (this.#connection === undefined) return;
    this.#connection = undefined;
    this.#next = Promise.withResolvers();
  }

  #retire(connection: McpConnection, signal: AbortSignal): void {
    const retired = connection.retire(signal).finally(() => this.#retired.delete(retired));
    this.#retired.add(retired);
  }

  async #list(connection: McpConnection, signal: AbortSignal): Promise<void> {
    const problems = new Set<string>();
    const listed = await connection.listTools(signal, (message) => problems.add(message));
    signal.throwIfAborted();
    const definitions = toDefinitions(listed, this.#config, (message) => problems.add(message));
    this.tools = definitions.map((definition) => ({
      ...definition,
      call: (inputJson, context) => this.#call(definition, inputJson, context),
    }));
    // What was wrong the last time is known.
    for (const problem of problems.difference(this.#listingProblems)) this.#tell(problem);
    this.#listingProblems = problems;
    this.#options.onTools?.(this.#config.name, this.tools);
  }

  /** A call that fails because the server is not there is made again, if that cannot do anything twice. */
  async #call(definition: McpToolDefinition, inputJson: string, context: ToolContext): Promise<ToolResult> {
    const args = parseArguments(inputJson);
    const isRepeatable = definition.sideEffect === "none" || definition.sideEffect === "idempotent";
    for (let attempt = 1; ; attempt++) {
      const connection = await this.#connected(context);
      try {
        return toToolResult(await connection.callTool(definition, args, context));
      } catch (thrown) {
        context.signal.throwIfAborted();
        const { error, isUntouched } = toCallFailure(thrown);
        const mayRepeat = isUntouched || (isRepeatable && error.code === Code.Unavailable);
        if (!mayRepeat || attempt === MAX_ATTEMPTS) throw error;
        const delay = Math.random() * RETRY_DELAY_MS * 2 ** (attempt - 1);
        if (performance.now() + delay >= context.deadline) throw error;
        await sleep(delay, undefined, { signal: context.signal }).catch(() => context.signal.throwIfAborted());
      }
    }
  }

  /** The connection for a call. Waits for one as long as connecting may take, within the call's deadline. */
  async #connected({ signal, deadline }: ToolContext): Promise<McpConnection> {
    if (this.#connection !== undefined) return this.#connection;
    const patience = Math.min(this.#config.connectTimeout, deadline - performance.now());
    const ends = AbortSignal.any([signal, this.#lifetime.signal]);
    const connection = await waitFor(this.#next.promise, ends, patience).catch(() => undefined);
    signal.throwIfAborted();
    if (connection === undefined) throw unavailable();
    return connection;
  }

  /** Tells why there is no connection, once for each reason. */
  #tellFailure(cause: unknown): void {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (message === this.#lastFailure) return;
    this.#lastFailure = message;
    this.#tell(`there is no connection: ${message}`, cause);
  }

  #tell(message: string, cause?: unknown): void {
    this.#options.onProblem({ server: this.#config.name, message, ...(cause !== undefined && { cause }) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lifetime.abort(new Error("the service is shutting down"));
    await this.#running;
    await Promise.allSettled(this.#retired);
  }
}
