import { create } from "@bufbuild/protobuf";
import {
  Health,
  type HealthCheckResponse,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../gen/grpc/health/v1/health_pb.js";
import { ParleyError } from "../errors/parley-error.ts";
import { type Method, streaming, unary } from "./call.ts";

/**
 * The name under which health tells whether the process lives, for the liveness probe of Kubernetes: a process that is shutting
 * down must not be restarted for it.
 */
const LIVENESS = "liveness";

/**
 * Health of the service and of each of its gRPC services (gRPC Health Checking Protocol). The empty name stands for the
 * service as a whole. All share one state: the process serves, or it is shutting down. `liveness` is always serving.
 */
export class HealthState {
  readonly #services: ReadonlySet<string>;
  readonly #watchers = new Set<() => void>();
  #serving = true;
  #ended = false;

  constructor(services: Iterable<string>) {
    this.#services = new Set(["", LIVENESS, ...services]);
  }

  get isServing(): boolean {
    return this.#serving;
  }

  /** Says NOT_SERVING from now on, also to all that watch. */
  stopServing(): void {
    this.#serving = false;
    this.#notify();
  }

  /** Ends all watches: they would hold connections open. */
  endWatches(): void {
    this.#ended = true;
    this.#notify();
  }

  methods(): readonly Method[] {
    return [
      unary({ desc: Health.method.check, quiet: true, handle: async ({ service }) => this.#check(service) }),
      unary({
        desc: Health.method.list,
        quiet: true,
        handle: async () => {
          const statuses = Array.from(this.#services, (service) => [service, this.#response(service)] as const);
          return create(HealthListResponseSchema, { statuses: Object.fromEntries(statuses) });
        },
      }),
      streaming({
        desc: Health.method.watch,
        quiet: true,
        unlimited: true,
        handle: async ({ service }, { signal }, out) => {
          let last: ServingStatus | undefined;
          while (!this.#ended) {
            const response = this.#response(service);
            if (response.status !== last) out.send(response);
            last = response.status;
            await this.#change(signal);
          }
        },
      }),
    ];
  }

  #check(service: string): HealthCheckResponse {
    if (!this.#services.has(service)) {
      const resource = { type: "service", name: service };
      throw new ParleyError("NOT_FOUND", `there is no service ${service}`, { resource });
    }
    return this.#response(service);
  }

  #response(service: string): HealthCheckResponse {
    const known = this.#serving || service === LIVENESS ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    const status = this.#services.has(service) ? known : ServingStatus.SERVICE_UNKNOWN;
    return create(HealthCheckResponseSchema, { status });
  }

  /** Waits for the next change. */
  async #change(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.#watchers.add(resolve);
    try {
      await promise;
    } finally {
      this.#watchers.delete(resolve);
      signal.removeEventListener("abort", abort);
    }
  }

  #notify(): void {
    for (const wake of [...this.#watchers]) wake();
  }
}
