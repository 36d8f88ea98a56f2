import { readFileSync } from "node:fs";
import { Client, type ClientOptions, credentials } from "@grpc/grpc-js";
import type { GrpcServiceConfig } from "../../config/tools-schema.ts";

/** How long a service may take to answer a PING. */
const PING_TIMEOUT_MS = 20_000;
/** When a service could not be connected to: how soon it is tried again at first, and how seldom in the end. */
const FIRST_RECONNECT_MS = 100;
const LAST_RECONNECT_MS = 5_000;

/**
 * A client of a service. It connects when the first call is made.
 *
 * @param maxBytes the most bytes of one message that is received.
 * @throws {Error} when a TLS file cannot be read, or the files cannot be used, or the target is none.
 */
export function openClient({ target, tls, keepAlive }: GrpcServiceConfig, maxBytes: number): Client {
  const options: ClientOptions = {
    "grpc.primary_user_agent": "parley",
    "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
    // The DNS could bring another configuration, and with it retries of calls that must not be made twice. Those that
    // remain are of calls that no service has seen: the connection closed before they were sent, or the server refused
    // the HTTP/2 stream unread.
    "grpc.service_config_disable_resolution": 1,
    // The proxy of the environment is there to reach Claude.
    "grpc.enable_http_proxy": 0,
    // Connections are this client's own, so that closing it closes them, and new TLS files make new ones.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": maxBytes,
    "grpc.keepalive_time_ms": keepAlive,
    "grpc.keepalive_timeout_ms": PING_TIMEOUT_MS,
    "grpc.initial_reconnect_backoff_ms": FIRST_RECONNECT_MS,
    "grpc.max_reconnect_backoff_ms": LAST_RECONNECT_MS,
    ...(tls?.serverName !== undefined && { "grpc.ssl_target_name_override": tls.serverName }),
  };
  return new Client(target, tls === undefined ? credentials.createInsecure() : readTls(tls), options);
}

type TlsConfig = NonNullable<GrpcServiceConfig["tls"]>;

function readTls({ caFile, certFile, keyFile }: TlsConfig) {
  const read = (path: string | undefined) => (path === undefined ? null : readFileSync(path));
  return credentials.createSsl(read(caFile), read(keyFile), read(certFile));
}

/** The files that a client is made from. */
export function tlsPaths({ tls }: GrpcServiceConfig): readonly string[] {
  return [tls?.caFile, tls?.certFile, tls?.keyFile].filter((path) => path !== undefined);
}
