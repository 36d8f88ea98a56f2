import type { LookupAddress } from "node:dns";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { freePort } from "../support/free-port.ts";
import { type ServiceProcess, startServiceProcess } from "../support/process.ts";

/** Several processes of the service, each at an address of its own, as the replicas behind a headless service are. */
export interface Fleet extends AsyncDisposable {
  readonly simulator: Simulator;
  /** The port that all have. */
  readonly port: number;
  readonly addresses: readonly string[];
  /** Finds them all, whatever the name. */
  readonly lookup: () => Promise<readonly LookupAddress[]>;
  /**
   * Restarts one after the other, as a rolling update does: each gets SIGTERM, ends, is started again, and the next one's
   * turn comes when it has answered a call. Returns the exit codes.
   */
  restartAll(): Promise<readonly (number | string)[]>;
}

/** How many words the answer of a call, and that of a stream, has. */
const script = {
  anyOrder: true,
  steps: [
    { expect: { contains: "short" }, respond: { content: [{ text: "Hello." }] }, times: 1_000_000 },
    {
      expect: { contains: "long" },
      respond: { content: [{ text: "A word ".repeat(10) }] },
      timing: { tokensPerSecond: 20 },
      times: 1_000_000,
    },
  ],
};

/** @param config of all of them, as in the YAML file. */
export async function startFleet(
  size: number,
  config: { readonly server?: object; readonly limits?: object },
): Promise<Fleet> {
  await using starting = new AsyncDisposableStack();
  const simulator = starting.use(await createSimulator({ pacing: "instant", script }));
  const addresses = Array.from({ length: size }, (_, index) => `127.0.0.${index + 1}`);
  const replicas = new Map<string, ServiceProcess>();
  starting.defer(async () => {
    for (const replica of replicas.values()) await replica[Symbol.asyncDispose]();
  });
  const port = await freePort();
  const start = async (host: string) => {
    const env = { ANTHROPIC_BASE_URL: simulator.url, PORT: String(port) };
    const replica = await startServiceProcess(env, { ...config, server: { ...config.server, host } });
    replicas.set(host, replica);
    return replica;
  };
  for (const host of addresses) await start(host);
  const running = starting.move();
  return {
    simulator,
    port,
    addresses,
    lookup: async () => addresses.map((address) => ({ address, family: 4 })),
    async restartAll() {
      const codes: (number | string)[] = [];
      for (const [host, replica] of [...replicas]) {
        replica.child.kill("SIGTERM");
        codes.push(await replica.exit);
        const next = await start(host);
        await next.line(({ msg, code }) => msg === "call" && code === "OK");
      }
      return codes;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
