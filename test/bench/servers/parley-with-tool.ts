// Parley as `npm start` starts it, with a tool that does nothing: what is measured is the loop around it.
import { loadConfig } from "../../../src/config/config.ts";
import { createLogger } from "../../../src/observe/logger.ts";
import { createServer } from "../../../src/server.ts";
import type { Tool } from "../../../src/tools/tool.ts";

const tool: Tool = {
  name: "nothing",
  description: "Does nothing.",
  inputSchemaJson: '{"type":"object","properties":{}}',
  sideEffect: "none",
  requiresApproval: false,
  timeoutMs: 10_000,
  maxConcurrency: 10_000,
  call: async () => ({ content: "done" }),
};

const config = loadConfig(process.env);
const logger = await createLogger({ level: config.logLevel, pretty: false });
await createServer(config, logger, { tools: { tools: [tool], [Symbol.asyncDispose]: async () => {} } });
