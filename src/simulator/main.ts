import { readEnvironment } from "./environment.ts";
import { createSimulator, loadScript, type Simulator } from "./simulator.ts";

const say = (line: string) => process.stdout.write(`${line}\n`);
const complain = (line: string) => process.stderr.write(`${line}\n`);

async function start(): Promise<Simulator | undefined> {
  const environment = readEnvironment(process.env);
  if ("problems" in environment) {
    for (const problem of environment.problems) complain(problem);
    return undefined;
  }
  const { options, scriptPath } = environment;
  try {
    const script = scriptPath === undefined ? undefined : await loadScript(scriptPath);
    return await createSimulator({ ...options, script, log: say });
  } catch (error) {
    complain(startProblem(error));
    return undefined;
  }
}

function startProblem(error: unknown): string {
  const { code, port } = error as NodeJS.ErrnoException & { port?: number };
  if (code === "EADDRINUSE") return `port ${port} is in use by another process: set SIMULATOR_PORT to another`;
  return error instanceof Error ? error.message : String(error);
}

async function stop(simulator: Simulator): Promise<void> {
  await simulator[Symbol.asyncDispose]();
  try {
    simulator.verify();
  } catch (error) {
    complain(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}

const simulator = await start();
if (simulator) {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void stop(simulator));
  say(`Simulating Claude at ${simulator.url}`);
} else {
  process.exitCode = 1;
}
