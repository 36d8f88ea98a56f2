import { readFile } from "node:fs/promises";
import type { Transport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import type { McpServerConfig } from "../../config/tools-schema.ts";
import { HttpTransport } from "./http-transport.ts";

/**
 * The way to a server. Files with headers are read now: a token may have been renewed since the last connection.
 *
 * @param onDoubt is told when the session, or the server, seems to be gone.
 * @throws {Error} when a file cannot be read.
 */
export async function createTransport(config: McpServerConfig, onDoubt: (reason: unknown) => void): Promise<Transport> {
  const { url, command: [command = "", ...args] = [], env, responseBytes } = config;
  if (url === undefined) {
    // What the program says on standard error belongs to whoever develops with it.
    return new StdioClientTransport({ command, args, env, stderr: "inherit", maxBufferSize: responseBytes });
  }
  const headers: Record<string, string> = { ...config.headers };
  for (const [name, path] of Object.entries(config.headerFiles)) headers[name] = (await readFile(path, "utf8")).trim();
  return new HttpTransport({
    url,
    headers,
    maxBytes: responseBytes,
    connectTimeoutMs: config.connectTimeout,
    onDoubt,
  });
}
