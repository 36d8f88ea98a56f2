import { z } from "zod";
import type { SimulatorOptions } from "./simulator.ts";

/** A number in digits. Both bounds are allowed values. */
function number(least: number, most: number, kind: "a number" | "a whole number" = "a number") {
  const error = ({ input }: { readonly input?: unknown }) =>
    `must be ${kind} from ${least} to ${most}, but is ${JSON.stringify(input)}`;
  const digits = kind === "a number" ? /^\d+(\.\d+)?$/ : /^\d+$/;
  return z
    .string()
    .refine((text) => digits.test(text) && Number(text) >= least && Number(text) <= most, { error })
    .transform(Number);
}

/** Every variable is optional, and an empty one counts as left out. */
const variables = z.object({
  SIMULATOR_PORT: number(0, 65_535, "a whole number").default(8090),
  SIMULATOR_HOST: z.string().default("127.0.0.1"),
  SIMULATOR_SCRIPT: z.string().optional(),
  SIMULATOR_TOKENS_PER_SEC: number(0.001, 1e9).optional(),
  SIMULATOR_FIRST_TOKEN_MS: number(0, 3_600_000).optional(),
  SIMULATOR_REQ_PER_MIN: number(0.001, 1e9).optional(),
  SIMULATOR_TOKENS_PER_MIN: number(0.001, 1e9).optional(),
});

/** What the environment asks for; the script is still to be read from its file. */
export interface SimulatorEnvironment {
  readonly options: SimulatorOptions;
  readonly scriptPath: string | undefined;
}

/** Reads the variables of a simulator process, or says everything that is wrong with them. */
export function readEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): SimulatorEnvironment | { readonly problems: readonly string[] } {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ""));
  const result = variables.safeParse(given);
  if (!result.success) {
    return { problems: result.error.issues.map(({ path, message }) => `${path.join(".")} ${message}`) };
  }
  const { data } = result;
  return {
    scriptPath: data.SIMULATOR_SCRIPT,
    options: {
      port: data.SIMULATOR_PORT,
      host: data.SIMULATOR_HOST,
      pacing: { tokensPerSecond: data.SIMULATOR_TOKENS_PER_SEC, firstTokenMs: data.SIMULATOR_FIRST_TOKEN_MS },
      requestsPerMinute: data.SIMULATOR_REQ_PER_MIN,
      tokensPerMinute: data.SIMULATOR_TOKENS_PER_MIN,
    },
  };
}
