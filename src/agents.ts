import { ToolSlots } from "./agent/tool-set.ts";
import { type Config, ConfigError } from "./config/config.ts";
import { logToolFault } from "./observe/call-log.ts";
import type { Logger } from "./observe/logger.ts";
import type { Observers } from "./observers.ts";
import { createRunFormat } from "./rpc/convert/agent-events.ts";
import type { AgentDependencies } from "./rpc/dependencies.ts";
import { MemoryRunStore } from "./runs/memory-run-store.ts";
import { Runs } from "./runs/runs.ts";
import { GrpcToolsError, grpcToolSources } from "./tools/grpc/grpc-tools.ts";
import { createLocalTools } from "./tools/local/local-tools.ts";
import { mcpToolSources } from "./tools/mcp/mcp-tools.ts";
import { ToolRegistry } from "./tools/registry.ts";
import type { ToolSource } from "./tools/tool.ts";

/**
 * The tools that Parley runs.
 *
 * @param more come before those of the configuration.
 * @throws {ConfigError} when the tools cannot be had as they are configured.
 */
export function createTools({ tools }: Config, logger: Logger, more: ToolSource | undefined): ToolRegistry {
  try {
    return new ToolRegistry([
      ...(more === undefined ? [] : [more]),
      createLocalTools(tools.local),
      ...grpcToolSources(tools.grpc, { onProblem: (error, message) => logger.warn({ err: error }, message) }),
      ...mcpToolSources(tools.mcp, {
        onProblem: ({ server, message, cause }) => logger.warn({ server, err: cause }, message),
      }),
    ]);
  } catch (error) {
    throw error instanceof GrpcToolsError ? new ConfigError(error.problems) : error;
  }
}

/** All runs, in the memory of this process. */
export function createRuns(
  { runs }: Config,
  dependencies: Omit<AgentDependencies, "runs">,
  observers: Pick<Observers, "runs" | "loop">,
  logger: Logger,
): Runs {
  const { upstream, retrier, prices } = dependencies;
  return new Runs({
    store: new MemoryRunStore({ maxBytes: runs.memory }),
    format: createRunFormat(prices),
    loop: {
      upstream,
      retrier,
      prices,
      slots: new ToolSlots(),
      observer: observers.loop,
      maxResultBytes: runs.resultBytes,
    },
    observer: observers.runs,
    retentionMs: runs.retention,
    actionTimeoutMs: runs.actionTimeout,
    maxActive: runs.active,
    onFault: (record, tool, fault) => logToolFault(logger, record, tool, fault),
  });
}
