import { EventEmitter, on, once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

/** A message of JSON-RPC that the server received, or `DELETE` for the end of a session. */
export interface McpMessage {
  readonly method: string;
  readonly id?: number | string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: unknown;
  readonly error?: { readonly code: number };
  readonly headers: IncomingMessage["headers"];
  /** Its exact text. */
  readonly text: string;
  /** Resolves when the connection for the answer was closed, or the answer has been sent. */
  readonly closed: Promise<unknown>;
}

/** An answer to a request. */
export type McpAnswer =
  | { readonly result: unknown }
  | { readonly error: unknown }
  /** The HTTP response, as it is. */
  | { readonly status: number; readonly body?: string; readonly type?: string }
  /** An event stream with these messages, which then ends, breaks, or stays open. */
  | { readonly stream: readonly object[]; readonly after?: "end" | "break" | "stay" }
  /** None, ever. */
  | "nothing";

export interface McpServerOptions {
  /** What requests are answered with, by method. Handlers of the handshake can be replaced. */
  readonly answers?: Readonly<Record<string, (message: McpMessage) => McpAnswer | Promise<McpAnswer>>>;
  readonly tools?: readonly object[];
  /** Status of the answer to those who want a stream of events. Unset: they get it. */
  readonly streamStatus?: number;
  /** Whether it speaks MCP 2026-07-28, which has no sessions. */
  readonly isModern?: boolean;
  readonly port?: number;
}

/** An MCP server over streamable HTTP that speaks raw JSON-RPC, and does what its script wants, wrong things too. */
export interface McpServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** What it received, in order. */
  readonly received: readonly McpMessage[];
  tools: readonly object[];
  /** Resolves with the first message, past or to come, that fits. */
  message(fits: (message: McpMessage) => boolean): Promise<McpMessage>;
  /** Sends a message on the open streams of events. Waits until there is one. */
  push(message: object): Promise<void>;
  /** Forgets all sessions, as a server does that was started anew. */
  forgetSessions(): void;
  /** Connections that are open. */
  connections(): Promise<number>;
  /** Resolves when there are none. */
  noConnections(): Promise<void>;
}

/** A tool with nothing special. */
export function plainTool(name: string, more: object = {}): object {
  return { name, description: `does ${name}`, inputSchema: { type: "object", properties: {} }, ...more };
}

/** A result with one text. */
export function textResult(value: string): { readonly result: object } {
  return { result: { content: [{ type: "text", text: value }], resultType: "complete" } };
}

const capabilities = { tools: { listChanged: true } };

export async function startMcpServer(options: McpServerOptions = {}): Promise<McpServer> {
  const received: McpMessage[] = [];
  const events = new EventEmitter<{ message: [McpMessage]; stream: []; close: [] }>().setMaxListeners(0);
  const sessions = new Set<string>();
  const streams = new Set<ServerResponse>();
  let tools = options.tools ?? [plainTool("work")];

  const answers: Record<string, (message: McpMessage) => McpAnswer | Promise<McpAnswer>> = {
    "server/discover": () =>
      options.isModern
        ? {
            result: {
              supportedVersions: ["2026-07-28"],
              capabilities,
              resultType: "complete",
              ttlMs: 0,
              cacheScope: "private",
            },
          }
        : { error: { code: -32601, message: "Method not found" } },
    initialize: () => ({
      result: { protocolVersion: "2025-06-18", capabilities, serverInfo: { name: "scripted", version: "1" } },
    }),
    "tools/list": () => ({ result: { tools, resultType: "complete", ttlMs: 0, cacheScope: "private" } }),
    "tools/call": () => textResult("done"),
    ...options.answers,
  };

  const server = createServer(async (request, response) => {
    const session = request.headers["mcp-session-id"];
    if (session !== undefined && !sessions.has(String(session))) {
      response.writeHead(404).end();
      return;
    }
    if (request.method === "GET") {
      if (options.streamStatus !== undefined) response.writeHead(options.streamStatus).end();
      else openStream(response);
      return;
    }
    const body = await text(request);
    const message: McpMessage = {
      ...(request.method === "DELETE" ? { method: "DELETE" } : JSON.parse(body)),
      headers: request.headers,
      text: body,
      closed: once(response, "close"),
    };
    received.push(message);
    events.emit("message", message);
    if (request.method === "DELETE") {
      sessions.delete(String(session));
      response.writeHead(200).end();
      return;
    }
    if (message.id === undefined || message.method === undefined) {
      response.writeHead(202).end();
      return;
    }
    const answer = await (answers[message.method]?.(message) ?? { error: { code: -32601, message: "no" } });
    if (message.method === "initialize") {
      const id = crypto.randomUUID();
      sessions.add(id);
      response.setHeader("mcp-session-id", id);
    }
    if (message.method === "subscriptions/listen" && answers[message.method] === undefined) {
      subscribe(message, response);
      return;
    }
    send(message, answer, response);
  });

  function openStream(response: ServerResponse) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(": open\n\n");
    streams.add(response);
    response.on("close", () => streams.delete(response));
    events.emit("stream");
  }

  function subscribe({ id, params }: McpMessage, response: ServerResponse) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const _meta = { "io.modelcontextprotocol/subscriptionId": id };
    const notifications = params?.notifications;
    event(response, { method: "notifications/subscriptions/acknowledged", params: { _meta, notifications } });
    streams.add(response);
    response.on("close", () => streams.delete(response));
    events.emit("stream");
  }

  server.on("connection", (socket) => socket.on("close", () => events.emit("close")));
  // Clients that leave connections open for the next request keep them for long.
  server.keepAliveTimeout = 600_000;
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const connections = () =>
    new Promise<number>((resolve, reject) =>
      server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
    );

  return {
    url: `http://127.0.0.1:${port}/mcp`,
    port,
    received,
    get tools() {
      return tools;
    },
    set tools(value) {
      tools = value;
    },
    async message(fits) {
      const found = received.find(fits);
      if (found !== undefined) return found;
      for await (const [message] of on(events, "message")) if (fits(message)) return message;
      throw new Error("unreachable");
    },
    async push(message) {
      if (streams.size === 0) await once(events, "stream");
      for (const stream of streams) event(stream, message);
    },
    forgetSessions() {
      sessions.clear();
    },
    connections,
    async noConnections() {
      while ((await connections()) > 0) await once(events, "close");
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function send({ id }: McpMessage, answer: McpAnswer, response: ServerResponse): void {
  if (answer === "nothing") return;
  if ("status" in answer) {
    response.writeHead(answer.status, { "content-type": answer.type ?? "application/json" }).end(answer.body);
  } else if ("stream" in answer) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(": open\n\n");
    for (const message of answer.stream) event(response, message);
    if (answer.after === "break") response.destroy();
    else if (answer.after !== "stay") response.end();
  } else {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
  }
}

function event(response: ServerResponse, message: object): void {
  response.write(`event: message\ndata: ${JSON.stringify({ jsonrpc: "2.0", ...message })}\n\n`);
}
