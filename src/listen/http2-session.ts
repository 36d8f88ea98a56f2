import { constants, type ServerHttp2Session } from "node:http2";

/**
 * Frames that a peer may send in each window of `WINDOW_MS`, beyond which its connection is closed. Node does not bound
 * them. The number for PING leaves room for grpc-go, whose bandwidth estimator sends one for each round trip.
 */
const MAX_PINGS = 50_000;
const MAX_SETTINGS = 100;
const WINDOW_MS = 10_000;

/** How long a peer may take to acknowledge our PING, in milliseconds. gRPC's default (keep-alive timeout). */
const PING_ACK_TIMEOUT_MS = 20_000;

export interface SessionLimits {
  /** How long a connection may carry nothing, in milliseconds: then it is closed without harm to open streams. */
  readonly idleTimeoutMs: number;
  /** How often a PING asks whether the peer is still there, in milliseconds. */
  readonly keepAliveMs: number;
}

/** Guards an HTTP/2 connection against peers that are idle, gone, or flood it. */
export function guardSession(session: ServerHttp2Session, { idleTimeoutMs, keepAliveMs }: SessionLimits): void {
  session.setTimeout(idleTimeoutMs, () => session.close());
  session.on("error", () => {
    // Reported on the streams of the session, too. The session closes by itself.
  });

  let pings = 0;
  let settings = 0;
  const count = (seen: number, limit: number) => {
    if (seen > limit) session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  };
  session.on("ping", () => count(++pings, MAX_PINGS));
  session.on("remoteSettings", () => count(++settings, MAX_SETTINGS));
  const window = setInterval(() => {
    pings = 0;
    settings = 0;
  }, WINDOW_MS).unref();

  const keepAlive = setInterval(() => askForLife(session), keepAliveMs).unref();
  session.once("close", () => {
    clearInterval(window);
    clearInterval(keepAlive);
  });
}

function askForLife(session: ServerHttp2Session): void {
  if (session.destroyed) return;
  const timer = setTimeout(() => session.destroy(), PING_ACK_TIMEOUT_MS).unref();
  session.ping(() => clearTimeout(timer));
}
