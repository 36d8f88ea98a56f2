import type { LookupAddress } from "node:dns";
import type { SecureContextOptions } from "node:tls";
import type { Interceptor } from "@connectrpc/connect";

export interface TransportOptions {
  /**
   * Where Parley is, such as `http://parley-headless:8080`. Every address that the name has gets calls in turn: that of a
   * headless service of Kubernetes has the addresses of all replicas.
   */
  readonly baseUrl: string;
  /** Run for each call, and anew each time that it is sent. */
  readonly interceptors?: Interceptor[];
  /** For TLS: authorities, a client certificate. */
  readonly nodeOptions?: SecureContextOptions;
  /** Finds the addresses of a name. Unset: `lookup` of `node:dns`. */
  readonly lookup?: (host: string) => Promise<readonly LookupAddress[]>;
}
