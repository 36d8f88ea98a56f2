import type { IncomingHttpHeaders } from "node:http";
import type { Answer } from "../answer/answer.ts";
import type { ScriptedResponse } from "../script/format.ts";
import type { ApiError } from "../server/api-error.ts";

/** A request as endpoints see it. */
export interface Call {
  readonly id: string;
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly bodyText: string;
  /** Why the body could not be read. */
  readonly bodyProblem: ApiError | undefined;
}

/** A request that will not be refused any more. */
export interface Prepared {
  /** Answers as Claude would. */
  answer(): Answer;
  /** Answers with a message or events of a script. */
  play?(response: ScriptedResponse): Answer;
}

/** One path of the API. */
export interface Endpoint {
  readonly method: "GET" | "POST";
  readonly path: RegExp;
  /** Whether it asks for a key and an API version. */
  readonly needsCredential: boolean;
  /**
   * Checks a request; with `validate` off, only what must hold for a scripted answer.
   * @throws {ApiError} when it is refused.
   */
  prepare(call: Call, validate: boolean): Prepared;
}
