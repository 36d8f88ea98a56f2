import { once } from "node:events";
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from "node:http2";
import { connect } from "node:net";

/** What came back for a request, whatever it was. */
export interface Reply {
  /** HTTP status. Undefined: the connection or the stream was closed without a response. */
  readonly status: number | undefined;
  /** Header and trailer. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** A length-prefixed message, as gRPC, gRPC-Web and Connect's streams have it. `length` may lie. */
export function envelope(data: Uint8Array | string, { flags = 0, length }: { flags?: number; length?: number } = {}) {
  const bytes = Buffer.from(data as Uint8Array);
  const prefix = Buffer.alloc(5);
  prefix[0] = flags;
  prefix.writeUInt32BE(length ?? bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** A frame of HTTP/2 (RFC 9113, 4.1). */
export function http2Frame(type: number, flags: number, stream: number, payload: Uint8Array | string = ""): Buffer {
  const bytes = Buffer.from(payload as Uint8Array);
  const head = Buffer.alloc(9);
  head.writeUIntBE(bytes.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, bytes]);
}

export const HTTP2_PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** Sends bytes on a connection of their own, and resolves with all that came back when the service has closed it. */
export async function sendRaw(port: number, ...pieces: (Uint8Array | string)[]): Promise<Buffer> {
  const socket = connect(port, "127.0.0.1");
  const chunks: Buffer[] = [];
  // A connection that the service closes while it is written to ends with an error: it is closed all the same.
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("end", () => socket.end());
  for (const piece of pieces) socket.write(piece);
  if (!socket.closed) await once(socket, "close").catch(() => {});
  return Buffer.concat(chunks);
}

/** Sends the bytes of an HTTP/1.1 request that asks for the connection to be closed. */
export async function sendHttp1(port: number, request: Uint8Array | string): Promise<Reply> {
  const bytes = await sendRaw(port, request);
  const text = bytes.toString("latin1");
  const headEnd = text.indexOf("\r\n\r\n");
  const [statusLine = "", ...lines] = text.slice(0, Math.max(headEnd, 0)).split("\r\n");
  const status = /^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1];
  const headers = lines.map((line) => [line.split(":", 1)[0]?.toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]);
  return {
    status: status === undefined ? undefined : Number(status),
    headers: Object.fromEntries(headers),
    body: bytes.subarray(headEnd + 4),
  };
}

/** Sends a request on an HTTP/2 connection. */
export async function sendHttp2(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: Uint8Array | string = "",
): Promise<Reply> {
  const stream = session.request(headers, { endStream: false });
  const chunks: Buffer[] = [];
  const received: OutgoingHttpHeaders = {};
  stream.on("error", () => {});
  stream.on("response", (header) => Object.assign(received, header));
  stream.on("trailers", (trailer) => Object.assign(received, trailer));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.end(body);
  if (!stream.closed) await once(stream, "close").catch(() => {});
  const status = received[":status"];
  return {
    status: status === undefined ? undefined : Number(status),
    headers: Object.fromEntries(Object.entries(received).map(([name, value]) => [name, String(value)])),
    body: Buffer.concat(chunks),
  };
}

export function openHttp2(url: string, options: SecureClientSessionOptions = {}): ClientHttp2Session {
  return connectHttp2(url, options).on("error", () => {});
}
