import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { Http2SessionManager } from "@connectrpc/connect-node";
import { within } from "./patience.ts";
import { UnprocessedError } from "./unprocessed.ts";

/** How long the other side may take to confirm a new connection, in milliseconds. */
const CONFIRM_TIMEOUT_MS = 3_000;

/**
 * A connection on which no message is sent before the other side has said anything: it is connected as soon as the
 * operating system has queued it, and a server that is about to end, or hangs, never takes it from there. A call of which
 * nothing but the header has been sent has not been processed.
 *
 * @param onFailure called when a connection is not confirmed.
 */
export function confirmed(
  connection: Http2SessionManager,
  onFailure: () => void,
): Pick<Http2SessionManager, "authority" | "request" | "notifyResponseByteRead"> {
  const confirmations = new WeakMap<ClientHttp2Session, Promise<boolean>>();
  return {
    authority: connection.authority,
    notifyResponseByteRead: (stream) => connection.notifyResponseByteRead(stream),
    async request(...args) {
      const stream = await connection.request(...args);
      const session = stream.session as ClientHttp2Session | undefined;
      if (session?.pendingSettingsAck !== true) return stream;
      let confirmation = confirmations.get(session);
      if (confirmation === undefined) {
        confirmation = confirm(session, onFailure);
        confirmations.set(session, confirmation);
      }
      const replay = record(stream);
      if (!(await confirmation) || stream.closed) throw unprocessed(stream);
      replay();
      return stream;
    },
  };
}

/** Whether the other side acknowledges our settings, which it does before all else. */
async function confirm(session: ClientHttp2Session, onFailure: () => void): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  session.once("localSettings", () => resolve(true));
  session.once("close", () => resolve(false));
  const patient = { signals: [], deadline: Number.POSITIVE_INFINITY };
  if (await within(promise, patient, CONFIRM_TIMEOUT_MS)) return true;
  onFailure();
  session.destroy();
  return false;
}

/** Some answer at the header. Keeps what happens to a stream until it has listeners, who get it with `replay`. */
function record(stream: ClientHttp2Stream): () => void {
  const events: [name: string, args: unknown[]][] = [];
  const recorders = ["response", "trailers"].map((name) => {
    const recorder = (...args: unknown[]) => events.push([name, args]);
    stream.on(name, recorder);
    return [name, recorder] as const;
  });
  const ignore = () => {};
  stream.on("error", ignore);
  return () => {
    stream.off("error", ignore);
    for (const [name, recorder] of recorders) stream.off(name, recorder);
    if (events.length === 0) return;
    setImmediate(() => {
      for (const [name, args] of events) stream.emit(name, ...args);
    });
  };
}

function unprocessed(stream: ClientHttp2Stream): UnprocessedError {
  stream.close();
  return new UnprocessedError("the connection was not confirmed");
}
