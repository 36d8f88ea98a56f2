import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { CallRecord } from "../rpc/call.ts";
import { isGrpc } from "./grpc.ts";

/** Who is at the other end of a connection. */
export interface Peer {
  /** Address that its calls come from. */
  readonly address: string;
  /** The common name of its verified client certificate, or `anonymous`. */
  readonly caller: string;
}

/** The record of a call that has just come in. */
export function newCallRecord(
  { name: method, quiet }: { readonly name: string; readonly quiet: boolean },
  protocol: string,
  peer: Peer,
  headers: IncomingHttpHeaders,
): CallRecord {
  return {
    id: callId(headers["x-request-id"]),
    method,
    protocol,
    quiet,
    peer: peer.address,
    caller: peer.caller,
    startedAt: performance.now(),
  };
}

export function peerOf(socket: Socket): Peer {
  return { address: socket.remoteAddress?.replace(/^::ffff:/, "") ?? "", caller: callerOf(socket) };
}

/** The protocol that a request asks for: `grpc`, `grpc-web`, `connect`, or `unknown`. */
export function protocolOf(headers: IncomingHttpHeaders): string {
  const contentType = (headers["content-type"] ?? "").toLowerCase();
  if (isGrpc(contentType)) return "grpc";
  if (contentType.startsWith("application/grpc-web")) return "grpc-web";
  if (contentType.startsWith("application/connect+") || headers["connect-protocol-version"] !== undefined)
    return "connect";
  return /^application\/(json|proto)\b/.test(contentType) || contentType === "" ? "connect" : "unknown";
}

/** The caller's own identifier is kept if it is harmless, so that both sides can find the call in their logs. */
function callId(header: string | string[] | undefined): string {
  return typeof header === "string" && /^[\w.:/+=-]{1,128}$/.test(header) ? header : randomUUID();
}

function callerOf(socket: Socket): string {
  const { authorized, getPeerCertificate } = socket as Partial<TLSSocket>;
  if (!authorized || getPeerCertificate === undefined) return "anonymous";
  const name = getPeerCertificate.call(socket as TLSSocket).subject?.CN;
  return (Array.isArray(name) ? name[0] : name) ?? "anonymous";
}
