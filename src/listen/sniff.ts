import type { Socket } from "node:net";

/**
 * Finds out which HTTP a client speaks on a connection without TLS, and hands the connection on with nothing lost. A
 * client of HTTP/2 with prior knowledge begins with `PRI` (RFC 9113, 3.4), which is no method of HTTP/1.1; the first two
 * letters tell it from `POST`, `PUT` and `PATCH`.
 *
 * @param timeoutMs how long the client may take to say so.
 */
export function sniff(socket: Socket, timeoutMs: number, accept: (version: 1 | 2) => void): void {
  let head: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), timeoutMs);
  const stop = () => {
    clearTimeout(timer);
    socket.off("readable", onReadable);
    socket.off("error", onError);
    socket.off("close", stop);
  };
  const onError = () => socket.destroy();
  const onReadable = () => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    head = Buffer.concat([head, chunk]);
    if (head.length < 2 && head[0] === 0x50) return;
    stop();
    socket.unshift(head);
    accept(head[0] === 0x50 && head[1] === 0x52 ? 2 : 1);
  };
  socket.on("readable", onReadable);
  socket.on("error", onError);
  socket.once("close", stop);
}
