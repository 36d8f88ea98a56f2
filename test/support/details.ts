import { createRegistry, type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "../../gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "../../gen/google/rpc/status_pb.js";
import { PartialOutputSchema } from "../../gen/parley/v1/errors_pb.js";

const schemas = {
  errorInfo: ErrorInfoSchema,
  requestInfo: RequestInfoSchema,
  retryInfo: RetryInfoSchema,
  badRequest: BadRequestSchema,
  quotaFailure: QuotaFailureSchema,
  resourceInfo: ResourceInfoSchema,
  partialOutput: PartialOutputSchema,
} as const;

/** What a caller is told of a failure, whatever protocol it came by. */
export type Told = { code: string; message: string } & {
  [K in keyof typeof schemas]?: MessageShape<(typeof schemas)[K]>;
};

/** What a ConnectError tells. */
export function toldBy(error: unknown): Told {
  if (!(error instanceof ConnectError)) throw error;
  return told(Code[error.code] ?? "", error.rawMessage, (schema) => error.findDetails(schema)[0]);
}

/** What the trailer `grpc-status-details-bin` tells. */
export function toldByStatus(bytes: Uint8Array): Told {
  const status: Status = fromBinary(StatusSchema, bytes);
  const registry = createRegistry(...Object.values(schemas));
  const details = status.details.map((any) => anyUnpack(any, registry));
  return told(Code[status.code] ?? "", status.message, (schema) =>
    details.find((detail) => detail?.$typeName === schema.typeName),
  );
}

function told(code: string, message: string, find: (schema: DescMessage) => unknown): Told {
  const found = Object.entries(schemas).map(([name, schema]) => [name, find(schema)] as const);
  return { code, message, ...Object.fromEntries(found.filter(([, detail]) => detail !== undefined)) };
}

/** The error that a call ends with. */
export async function failureOf(call: Promise<unknown> | AsyncIterable<unknown>): Promise<Told> {
  try {
    if (Symbol.asyncIterator in call) for await (const _ of call);
    else await call;
  } catch (error) {
    return toldBy(error);
  }
  throw new Error("the call succeeded");
}
