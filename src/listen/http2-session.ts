import { constants, type ServerHttp2Session } from "node:http2";
import { jittered } from "./connection-age.ts";

/**
 * Frames that a peer may send in each window of `WINDOW_MS`, beyond which its connection is closed. Node does not bound
 * them. The number for PING leaves room for grpc-go, whose bandwidth estimator sends one for each round trip.
 */
const MAX_PINGS = 50_000;
const MAX_SETTINGS = 100;
const WINDOW_MS = 10_000;

/** How long a peer may take to acknowledge our PING, in milliseconds, or until the next PING. gRPC's default. */
const PING_ACK_TIMEOUT_MS = 20_000;

export interface SessionLimits {
  /** How long a connection without calls may carry nothing, in milliseconds. */
  readonly idleTimeoutMs: number;
  /** How long a connection takes new calls, in milliseconds, give or take a tenth. 0: as long as it is there. */
  readonly connectionAgeMs: number;
  /** How often a PING asks whether the peer is still there, in milliseconds. */
  readonly keepAliveMs: number;
}

/** Guards an HTTP/2 connection against peers that are idle, gone, or flood it, and lets it go when it is old. */
export function guardSession(session: ServerHttp2Session, limits: SessionLimits): void {
  const { idleTimeoutMs, connectionAgeMs, keepAliveMs } = limits;
  const close = () => closeSession(session, keepAliveMs);
  let streams = 0;
  let isOld = false;
  // Node's own timer of a session outlives it, and keeps it in memory until then.
  const idle = setTimeout(() => {
    if (streams === 0) close();
  }, idleTimeoutMs).unref();
  session.on("stream", (stream) => {
    streams++;
    stream.once("close", () => {
      if (--streams > 0) return;
      if (isOld) close();
      idle.refresh();
    });
  });
  const letGo = () => {
    isOld = true;
    if (streams === 0) close();
    // Not closed yet: its streams may go on for hours, in which PINGs must find out whether the peer is still there.
    else session.goaway();
  };
  session.on("error", () => {
    // Reported on the streams of the session, too. The session closes by itself.
  });

  let pings = 0;
  let settings = 0;
  const count = (seen: number, limit: number) => {
    idle.refresh();
    if (seen <= limit || session.destroyed) return;
    session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    session.destroy();
  };
  session.on("ping", () => count(++pings, MAX_PINGS));
  session.on("remoteSettings", () => count(++settings, MAX_SETTINGS));
  const window = setInterval(() => {
    pings = 0;
    settings = 0;
  }, WINDOW_MS).unref();

  const keepAlive = setInterval(() => askForLife(session, keepAliveMs), keepAliveMs).unref();
  const age = connectionAgeMs === 0 ? undefined : setTimeout(letGo, jittered(connectionAgeMs)).unref();
  session.once("close", () => {
    clearTimeout(idle);
    clearInterval(window);
    clearInterval(keepAlive);
    clearTimeout(age);
  });
}

/**
 * Closes a connection as soon as its streams have ended. Its GOAWAY names the last of them: calls that were on their way
 * then are the caller's to make again on another connection, as clients of gRPC do by themselves. Node would wait for ever
 * for a peer that has sent a part of a frame and no more: it cannot acknowledge the PING either. (After the close, Node
 * sends none.)
 */
export function closeSession(session: ServerHttp2Session, keepAliveMs: number): void {
  askForLife(session, keepAliveMs);
  session.close();
}

function askForLife(session: ServerHttp2Session, keepAliveMs: number): void {
  if (session.destroyed) return;
  let answered = false;
  const end = () => {
    if (!answered) session.destroy();
  };
  // When the process was busy, the answer may be here, and only not yet read: that happens before `setImmediate`.
  const timer = setTimeout(() => setImmediate(end), Math.min(PING_ACK_TIMEOUT_MS, keepAliveMs)).unref();
  session.ping(() => {
    answered = true;
    clearTimeout(timer);
  });
}
