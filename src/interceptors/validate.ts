import { pathToString } from "@bufbuild/protobuf/reflect";
import { createValidator } from "@bufbuild/protovalidate";
import { ParleyError } from "../errors/parley-error.ts";
import type { Interceptor } from "../rpc/call.ts";

/** Refuses requests that break a rule of the proto (buf.validate), naming every field that does. */
export function createValidate(): Interceptor {
  const validator = createValidator();
  return (_, method, input) => {
    const result = validator.validate(method.input, input);
    if (result.kind === "valid") return;
    if (result.kind === "error") throw result.error;
    const violations = result.violations.map((violation) => ({
      field: pathToString(violation.field),
      description: violation.message,
    }));
    const [first] = violations;
    const more = violations.length > 1 ? ` (and ${violations.length - 1} more)` : "";
    const subject = first?.field ? `${first.field}: ` : "";
    throw new ParleyError("INVALID_REQUEST", `${subject}${first?.description}${more}`, { violations });
  };
}
