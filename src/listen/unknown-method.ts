import type { ServerResponse } from "node:http";
import { errorToJson } from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { ParleyError } from "../errors/parley-error.ts";
import type { CallRecord } from "../rpc/call.ts";
import { refuse } from "./error-details.ts";

/** Answers a call of an RPC that there is none of, in the protocol that it came by. */
export function writeUnknownMethod(path: string, record: CallRecord, response: ServerResponse): void {
  const error = refuse(new ParleyError("NOT_IMPLEMENTED", `there is no RPC ${path.slice(0, 256)}`), record);
  if (record.protocol === "grpc" || record.protocol === "grpc-web") {
    response.setHeader("content-type", `application/${record.protocol}`);
    for (const [name, value] of setTrailerStatus(new Headers(), error)) response.setHeader(name, value);
    response.writeHead(200);
    response.end();
    return;
  }
  response.setHeader("content-type", "application/json");
  response.writeHead(404);
  response.end(JSON.stringify(errorToJson(error, undefined)));
}
