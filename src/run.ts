import { type Config, ConfigError, loadConfig } from "./config/config.ts";
import { routeConsole } from "./observe/console.ts";
import { createLogger, flushLogger, type Logger } from "./observe/logger.ts";
import { createServer, type Server } from "./server.ts";

/**
 * How long after the drain the process ends in any case, in milliseconds: before Kubernetes kills it, which the chart has
 * it do 10 seconds after the drain.
 */
const OVERTIME_MS = 9_000;

/** Where SIGTERM and SIGINT go. */
export interface Signals {
  handle(signal: NodeJS.Signals): void;
}

/** Runs the service until a signal ends it, with what the environment says. */
export async function run(signals: Signals): Promise<void> {
  try {
    const config = loadConfig(process.env);
    const logger = await createLogger({ level: config.logLevel, pretty: process.stdout.isTTY === true });
    routeConsole(logger);
    for (const name of config.ineffective) logger.warn({ variable: name }, "set, but without effect in this version");
    const server = await createServer(config, logger);

    let isEnding = false;
    const end = (signal?: NodeJS.Signals) => {
      if (isEnding) return;
      isEnding = true;
      void shutDown(server, config.server, logger, signal);
    };
    // A fault that nobody caught must not take other calls with it. After an exception the state of the process is in
    // doubt: it shuts down as at a signal, and makes room for another.
    process.on("unhandledRejection", (error) => logger.error({ err: error }, "unhandled rejection"));
    process.on("uncaughtException", (error) => {
      logger.fatal({ err: error }, "uncaught exception");
      process.exitCode = 1;
      end();
    });
    signals.handle = (signal) => {
      signals.handle = () => process.exit(1);
      end(signal);
    };
    // Last: whoever reads this may send a signal.
    logger.info({ port: server.port, admin_port: server.adminPort, claude: new URL(config.baseUrl).host }, "listening");
  } catch (error) {
    const problems = startProblems(error);
    if (problems === undefined) throw error;
    process.stderr.write(`Parley cannot start:\n${problems.map((problem) => `- ${problem}\n`).join("")}`);
    process.exitCode = 1;
  }
}

/**
 * Ends the process: in order, and with 1 where that cannot be.
 *
 * @param signal why. Undefined: an exception.
 */
async function shutDown(
  server: Server,
  { lameDuck, drain }: Config["server"],
  logger: Logger,
  signal: NodeJS.Signals | undefined,
): Promise<void> {
  logger.info({ signal, lame_duck_ms: lameDuck, drain_ms: drain }, "shutting down: a second signal ends it at once");
  setTimeout(
    () => {
      logger.fatal("the shutdown takes too long: the process ends without the rest of it");
      process.exit(1);
    },
    lameDuck + drain + OVERTIME_MS,
  );
  try {
    await using ending = server;
    await ending.shutDown();
  } catch (error) {
    logger.error({ err: error }, "the shutdown has failed");
    process.exitCode = 1;
  }
  logger.info("shut down");
  await flushLogger(logger);
  process.exit();
}

/** What the operator can mend. Undefined: the error is of another kind. */
function startProblems(error: unknown): readonly string[] | undefined {
  if (error instanceof ConfigError) return error.problems;
  const { syscall, code, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  if (syscall === "getaddrinfo") return [`server.host cannot be resolved (${code})`];
  if (syscall !== "listen") return undefined;
  const inUse = code === "EADDRINUSE" ? ", which another process uses: set PORT, or ADMIN_PORT, to another" : "";
  return [`cannot listen at port ${port} of ${address === "::" ? "all addresses" : address}${inUse} (${code})`];
}
