import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect,
  constants,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from "node:http2";

/** How long connecting may take, in milliseconds. */
const CONNECT_TIMEOUT_MS = 3_000;

/** How often a connection with calls is asked whether the other side is still there, in milliseconds. */
const PING_INTERVAL_MS = 30_000;

/** How long the other side may take to answer that, in milliseconds. */
const PING_TIMEOUT_MS = 15_000;

/** How long a connection without calls is kept, in milliseconds. */
const IDLE_TIMEOUT_MS = 15 * 60_000;

/** An HTTP/2 connection, which takes calls until it is told to go. It keeps the process alive while it has calls. */
export class Connection {
  readonly #session: ClientHttp2Session;
  readonly #idle: NodeJS.Timeout;
  #streams = 0;
  /** When the other side was last heard, by `performance.now()`. */
  #heardAt = Number.NEGATIVE_INFINITY;

  /**
   * Resolves when the other side has acknowledged our settings, which it does before all else: a connection is there as
   * soon as the operating system has queued it, and a server that is about to end, or hangs, never takes it from there.
   */
  readonly confirmed: Promise<void>;

  constructor(authority: string, options: SecureClientSessionOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.confirmed = promise;
    const session = connect(authority, options);
    this.#session = session;
    const connecting = setTimeout(
      () => this.destroy(new Error(`connecting took more than ${CONNECT_TIMEOUT_MS} ms`)),
      CONNECT_TIMEOUT_MS,
    );
    // Node's own timer of a session outlives it, and keeps it in memory until then.
    this.#idle = setTimeout(() => {
      if (this.#streams === 0) session.close();
    }, IDLE_TIMEOUT_MS).unref();
    const keepAlive = setInterval(() => {
      if (this.#streams > 0) void this.#ping();
    }, PING_INTERVAL_MS).unref();
    session.once("localSettings", () => {
      this.#heardAt = performance.now();
      clearTimeout(connecting);
      session.unref();
      resolve();
    });
    // Node closes it with the last call, but waits for the other side to do so when there is none.
    session.once("goaway", () => {
      if (this.#streams === 0) session.destroy();
    });
    // Reported on the streams of the session, too.
    session.on("error", reject);
    session.once("close", () => {
      clearTimeout(connecting);
      clearTimeout(this.#idle);
      clearInterval(keepAlive);
      reject(new Error("the connection was closed at once"));
    });
  }

  /** Whether it takes calls. When the other side has long been silent, it is asked first. */
  async isOpen(): Promise<boolean> {
    if (performance.now() - this.#heardAt > PING_INTERVAL_MS) await this.#ping();
    return !this.#session.closed && !this.#session.destroyed;
  }

  /** Begins a call. Throws an error of Node when it takes none any more. */
  request(headers: OutgoingHttpHeaders, options: ClientSessionRequestOptions): ClientHttp2Stream {
    const session = this.#session;
    const stream = session.request(headers, options);
    stream.once("response", () => {
      this.#heardAt = performance.now();
    });
    if (++this.#streams === 1) session.ref();
    stream.once("close", () => {
      if (--this.#streams > 0) return;
      session.unref();
      this.#idle.refresh();
    });
    return stream;
  }

  onClose(listener: () => void): void {
    this.#session.once("close", listener);
  }

  /** Closes it, and ends the calls on it with the reason. */
  destroy(reason: Error): void {
    this.#session.destroy(reason, constants.NGHTTP2_CANCEL);
  }

  /** Asks whether the other side is still there, and closes the connection if it is not. */
  async #ping(): Promise<void> {
    if (this.#session.destroyed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => this.destroy(new Error("the replica does not answer")), PING_TIMEOUT_MS).unref();
    this.#session.ping((error) => {
      clearTimeout(timer);
      if (error === null) this.#heardAt = performance.now();
      resolve();
    });
    await promise;
  }
}
