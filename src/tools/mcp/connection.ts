import { type CallToolResult, Client, type Transport } from "@modelcontextprotocol/client";
import type { McpServerConfig } from "../../config/tools-schema.ts";
import { abortStatus } from "../abort-status.ts";
import type { ToolContext } from "../tool.ts";
import { callMeta, progressText } from "./call-meta.ts";
import type { McpToolDefinition } from "./definitions.ts";
import { HttpTransport } from "./http-transport.ts";
import { listTools } from "./listing.ts";
import { unavailable } from "./tool-failure.ts";
import { createTransport } from "./transport.ts";

/** The longest that a timer can wait, in milliseconds. */
const MAX_TIMER_MS = 2_147_483_647;
/** How long a server may take to end its session when Parley leaves, in milliseconds. */
const FAREWELL_MS = 1_000;

export interface ConnectionEvents {
  /** The server says that its tools have changed. */
  onToolsChanged(): void;
  /** The connection is lost, or seems to be. Calls that are under way on it may still end well. */
  onDoubt(reason: unknown): void;
}

/** A session with a server. */
export class McpConnection implements AsyncDisposable {
  readonly #client: Client;
  readonly #transport: Transport;
  readonly #config: McpServerConfig;
  #calls = 0;
  #isClosed = false;
  #isRetired = false;
  readonly #idle = Promise.withResolvers<void>();

  private constructor(client: Client, transport: Transport, config: McpServerConfig) {
    this.#client = client;
    this.#transport = transport;
    this.#config = config;
  }

  /**
   * Connects, by the newest version of MCP that the server speaks.
   *
   * @throws {Error} when the server cannot be reached, refuses, takes too long, or has no tools, and when the signal is
   * aborted.
   */
  static async open(config: McpServerConfig, events: ConnectionEvents, signal: AbortSignal): Promise<McpConnection> {
    const client = new Client(
      { name: "parley", version: "1" },
      {
        // What servers may ask of their clients, such as input from a person, is not offered.
        capabilities: {},
        inputRequired: { autoFulfill: false },
        versionNegotiation: { mode: "auto" },
        listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => events.onToolsChanged() } },
      },
    );
    const transport = await createTransport(config, events.onDoubt);
    signal.throwIfAborted();
    const connection = new McpConnection(client, transport, config);
    const abort = () => void transport.close();
    signal.addEventListener("abort", abort, { once: true });
    try {
      await client.connect(transport, { timeout: config.connectTimeout, signal });
      if (client.getServerCapabilities()?.tools === undefined) throw new Error("the server has no tools");
    } catch (error) {
      await connection[Symbol.asyncDispose]();
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
    client.onclose = () => {
      connection.#isClosed = true;
      events.onDoubt(new Error("the connection was closed"));
    };
    client.autoOpenedSubscription?.closed.then(() => events.onDoubt(new Error("the subscription ended")));
    return connection;
  }

  /** All tools that the server has, as it sends them. */
  listTools(signal: AbortSignal, problem: (message: string) => void): Promise<readonly unknown[]> {
    return listTools(this.#client, { signal, timeout: this.#config.connectTimeout }, problem);
  }

  /** Calls a tool. Rejects with what `toCallFailure` understands. */
  async callTool(
    { remoteName: name, inputSchema }: McpToolDefinition,
    args: Record<string, unknown>,
    context: ToolContext,
  ): Promise<CallToolResult> {
    if (this.#isClosed) throw unavailable();
    this.#calls++;
    const traced = context.trace.mcpRequest(name);
    let errorType: string | undefined;
    try {
      return await this.#client.callTool(
        { name, arguments: args, _meta: callMeta(traced.headers) },
        {
          // Without its output schema: what a tool did is told, also where it does not keep to that.
          toolDefinition: { name, inputSchema: inputSchema as never },
          signal: context.signal,
          timeout: Math.min(Math.max(1, context.deadline - performance.now()), MAX_TIMER_MS),
          onprogress: (progress) => context.progress(progressText(progress)),
        },
      );
    } catch (error) {
      errorType = errorTypeOf(error, context);
      throw error;
    } finally {
      traced.ended(errorType);
      this.#calls--;
      if (this.#isRetired && this.#calls === 0) this.#idle.resolve();
    }
  }

  /** Closes the connection when the calls that are under way on it have ended, or the signal is aborted. */
  async retire(signal: AbortSignal): Promise<void> {
    this.#isRetired = true;
    const end = () => this.#idle.resolve();
    if (this.#calls === 0 || signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
    await this.#idle.promise;
    signal.removeEventListener("abort", end);
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const transport = this.#transport;
    if (transport instanceof HttpTransport && transport.sessionId !== undefined && !this.#isClosed) {
      const patience = AbortSignal.timeout(FAREWELL_MS);
      const timeout = new Promise((resolve) => patience.addEventListener("abort", resolve));
      await Promise.race([transport.terminateSession().catch(() => {}), timeout]);
    }
    this.#isClosed = true;
    await this.#client.close();
  }
}

/** Why a call failed: the code of JSON-RPC, or of the SDK, where there is one. */
function errorTypeOf(error: unknown, context: ToolContext): string {
  const aborted = abortStatus(context);
  if (aborted !== undefined) return aborted;
  const { code, name } = error as Error & { readonly code?: unknown };
  return String(code ?? name);
}
