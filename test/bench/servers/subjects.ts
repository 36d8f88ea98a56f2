import { join } from "node:path";
import { type Caller, openGrpcCaller, openHttpCaller } from "../load/caller.ts";
import type { Upstream } from "../load/upstream.ts";
import { installPortkey } from "./portkey.ts";
import { ServerProcess } from "./server.ts";

/** A server that is measured. */
export interface Subject {
  readonly name: "Parley" | "raw" | "Portkey";
  readonly server: ServerProcess;
  open(reads?: boolean): Promise<Caller>;
}

const root = join(import.meta.dirname, "../../..");

/** Parley as `npm start` starts it, with its configuration as it ships. */
export async function startParley(upstream: Upstream, env: NodeJS.Dict<string> = {}): Promise<Subject> {
  const server = await ServerProcess.start((port) => ({
    args: ["--max-semi-space-size=16", join(root, "src/main.ts")],
    env: { PORT: String(port), ADMIN_PORT: "0", ANTHROPIC_BASE_URL: upstream.url, ANTHROPIC_API_KEY: "any", ...env },
  }));
  return { name: "Parley", server, open: (reads) => openGrpcCaller(server.port, reads) };
}

/** Parley with a tool that does nothing. */
export function startParleyWithTool(upstream: Upstream): Promise<ServerProcess> {
  return ServerProcess.start((port) => ({
    args: ["--max-semi-space-size=16", join(import.meta.dirname, "parley-with-tool.ts")],
    env: { PORT: String(port), ADMIN_PORT: "0", ANTHROPIC_BASE_URL: upstream.url, ANTHROPIC_API_KEY: "any" },
  }));
}

/** The minimal forwarder of gRPC: the practical limit. */
export async function startRawForwarder(upstream: Upstream): Promise<Subject> {
  const server = await ServerProcess.start((port) => ({
    args: ["--max-semi-space-size=16", join(import.meta.dirname, "raw-forwarder.ts")],
    env: { PORT: String(port), ANTHROPIC_BASE_URL: upstream.url },
  }));
  return { name: "raw", server, open: (reads) => openGrpcCaller(server.port, reads) };
}

/** A gateway in TypeScript from npm: it passes Claude's own API through. */
export async function startPortkey(upstream: Upstream): Promise<Subject> {
  const server = await ServerProcess.start((port) => ({
    args: ["--max-semi-space-size=16", installPortkey(), `--port=${port}`, "--headless"],
    env: {},
  }));
  const headers = {
    authorization: "Bearer any",
    "anthropic-version": "2023-06-01",
    "x-portkey-provider": "anthropic",
    "x-portkey-custom-host": `${upstream.url}/v1`,
  };
  return {
    name: "Portkey",
    server,
    open: async () => openHttpCaller(server.port, "/v1/messages", headers),
  };
}
