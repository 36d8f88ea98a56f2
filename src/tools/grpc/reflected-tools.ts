import { setTimeout as sleep } from "node:timers/promises";
import type { GrpcServiceConfig } from "../../config/tools-schema.ts";
import type { Tool, ToolSource } from "../tool.ts";
import { createMethodTool } from "./method-tool.ts";
import type { GrpcToolsOptions } from "./options.ts";
import { reflect } from "./reflection.ts";
import type { ServiceChannel } from "./service-channel.ts";
import { openClient } from "./service-client.ts";
import { defineTools } from "./tool-definitions.ts";

/** The first wait until a service is asked again is drawn from half of this to all of it; each further one from twice as much. */
const FIRST_BACK_OFF_MS = 500;
const LAST_BACK_OFF_MS = 30_000;
/** How long a service may take to tell of itself. */
const REFLECTION_TIMEOUT_MS = 10_000;
/** The most bytes of one answer of reflection. */
const MAX_DESCRIPTOR_BYTES = 16 * 1024 * 1024;

/** The tools of a service that tells of itself. It is asked in the background until all methods are there. */
export class ReflectedTools implements ToolSource {
  tools: readonly Tool[] = [];
  readonly #config: GrpcServiceConfig;
  readonly #path: string;
  readonly #channel: ServiceChannel;
  readonly #options: GrpcToolsOptions;
  readonly #lifetime = new AbortController();
  readonly #running: Promise<void>;
  #lastProblem: string | undefined;

  constructor(config: GrpcServiceConfig, path: string, channel: ServiceChannel, options: GrpcToolsOptions) {
    this.#config = config;
    this.#path = path;
    this.#channel = channel;
    this.#options = options;
    this.#running = this.#run(this.#lifetime.signal);
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (let wait = FIRST_BACK_OFF_MS; ; wait = Math.min(LAST_BACK_OFF_MS, wait * 2)) {
      try {
        await this.#define(signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#tell(error);
      }
      await sleep(wait * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
    }
  }

  /** Throws when not all of the methods can be tools. Those that can be are, all the same. */
  async #define(signal: AbortSignal): Promise<void> {
    const config = this.#config;
    const client = openClient(config, MAX_DESCRIPTOR_BYTES);
    try {
      const wanted = config.methods.map(({ name }) => name.slice(0, name.indexOf("/")));
      const ends = AbortSignal.any([signal, AbortSignal.timeout(REFLECTION_TIMEOUT_MS)]);
      const { registry, services } = await reflect(client, wanted, ends);
      const origin = `the service at ${config.target}`;
      const { definitions, problems } = defineTools(config, registry, { path: this.#path, origin, services });
      this.tools = definitions.map((definition) => createMethodTool(definition, config, this.#channel));
      this.#options.onTools?.(config.name, this.tools);
      if (problems.length > 0) throw new Error(problems.join("\n"));
    } finally {
      client.close();
    }
  }

  /** Tells why tools are missing, once for each reason. */
  #tell(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    if (reason === this.#lastProblem) return;
    this.#lastProblem = reason;
    this.#options.onProblem(error, `tools of the gRPC service ${this.#config.name} are missing: it is asked again`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lifetime.abort(new Error("Parley shuts down"));
    this.#channel[Symbol.dispose]();
    await this.#running;
  }
}
