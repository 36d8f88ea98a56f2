import { createRegistry } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { file_parley_v1_chat_service } from "../../gen/parley/v1/chat_service_pb.js";
import { file_parley_v1_content } from "../../gen/parley/v1/content_pb.js";
import { file_parley_v1_model_service } from "../../gen/parley/v1/model_service_pb.js";
import { isTelling } from "./failure.ts";
import { ParleyError } from "./parley-error.ts";

/** What requests consist of. */
const types = createRegistry(file_parley_v1_chat_service, file_parley_v1_content, file_parley_v1_model_service);

/**
 * What is wrong with a request that could not be read, so that no RPC was called. The Connect library reports some of it
 * as internal errors of the server, which it is not: bytes that are no protobuf, compressed data that break off.
 */
export function requestFault(error: unknown): unknown {
  if (isTelling(error)) return error;
  if (!(error instanceof ConnectError)) return undecodable((error as Error).message);
  if (error.code === Code.Internal) return undecodable(error.rawMessage.replace(/^parse binary: /, ""));
  if (error.code === Code.InvalidArgument && isDecoding(error.rawMessage)) return undecodable(error.rawMessage);
  return error;
}

function undecodable(text: string): ParleyError {
  const message = isDecoding(text) ? `${text}${expectation(text)}` : `the request could not be decoded: ${text}`;
  return new ParleyError("INVALID_REQUEST", message);
}

function isDecoding(text: string): boolean {
  return text.startsWith("cannot decode ");
}

/** What should have been there, where the decoder says only what was. */
function expectation(text: string): string {
  const [, typeName = ""] =
    /^cannot decode (?:enum|message) (\S+) from JSON: (?:["\d-]|Array|true|false)/.exec(text) ?? [];
  const type = types.get(typeName);
  if (type?.kind === "enum") {
    const names = type.values.filter(({ number }) => number !== 0).map(({ name }) => name);
    return `, but one of ${names.join(", ")} is expected`;
  }
  if (type?.kind !== "message") return "";
  return `, but an object is expected, which can have ${type.fields.map(({ name }) => name).join(", ")}`;
}
