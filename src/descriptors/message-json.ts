import {
  type DescMessage,
  fromJson,
  type JsonValue,
  type Message,
  type Registry,
  toJsonString,
} from "@bufbuild/protobuf";
import { createValidator, type Validator } from "@bufbuild/protovalidate";
import { parseExactly } from "./exact-integers.ts";
import { jsonPath } from "./json-path.ts";
import { type FieldProblem, findMisfits } from "./misfits.ts";

export type { FieldProblem };

/** The most problems that a message tells of. */
const MAX_TOLD = 5;

/** JSON text that is no message of the type that was asked for, or one that breaks a rule of it. */
export class MessageError extends Error {
  override readonly name = "MessageError";
  readonly problems: readonly FieldProblem[];

  constructor(problems: readonly FieldProblem[]) {
    const told = problems.slice(0, MAX_TOLD).map(({ path, description }) => `${path}${path && ": "}${description}`);
    const more = problems.length > MAX_TOLD ? ` (and ${problems.length - MAX_TOLD} more)` : "";
    super(told.join("; ") + more);
    this.problems = problems;
  }
}

/**
 * A validator of messages by their protovalidate rules, which also demands the fields that proto2 calls required.
 *
 * @param registry knows the rules that the descriptors define themselves, and the types that an Any may hold.
 */
export function createMessageValidator(registry: Registry): Validator {
  return createValidator({ registry, legacyRequired: true });
}

/**
 * Reads a message from JSON text in protobuf's JSON mapping, and validates it.
 *
 * Unlike protobuf's own parser it keeps integers exact that a JSON number of JavaScript cannot hold.
 *
 * @throws {MessageError} that names each part that does not fit, or breaks a rule.
 * @throws {Error} when the rules themselves cannot be evaluated.
 */
export function parseMessage(desc: DescMessage, text: string, registry: Registry, validator: Validator): Message {
  let json: JsonValue;
  try {
    json = parseExactly(text, desc, registry);
  } catch {
    throw new MessageError([{ path: "", description: "must be valid JSON" }]);
  }
  const message = decode(desc, json, registry);
  const result = validator.validate(desc, message);
  if (result.kind === "error") throw result.error;
  if (result.kind === "invalid") {
    throw new MessageError(
      result.violations.map((violation) => ({
        path: jsonPath(violation.field),
        description: violation.message || "breaks a rule",
      })),
    );
  }
  return message;
}

function decode(desc: DescMessage, json: JsonValue, registry: Registry): Message {
  try {
    return fromJson(desc, json, { registry });
  } catch {
    // The parser says what is wrong, but not where.
    const problems = findMisfits(desc, json, registry);
    throw new MessageError(
      problems.length > 0 ? problems : [{ path: "", description: `does not fit ${desc.typeName}` }],
    );
  }
}

/**
 * The JSON text of a message, in protobuf's JSON mapping.
 *
 * @param registry knows the types that an Any may hold.
 * @param hasZeros whether fields without presence are in it also when they are zero or empty: who does not know the proto
 * cannot tell that a number which is not there is 0.
 * @throws {Error} when the message has no JSON text: an Any of an unknown type, a time out of range.
 */
export function messageText(desc: DescMessage, message: Message, registry: Registry, hasZeros = false): string {
  return toJsonString(desc, message, { registry, alwaysEmitImplicit: hasZeros });
}
