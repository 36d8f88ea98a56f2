import { ScalarType } from "@bufbuild/protobuf";
import type { FieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { boundNotes, integerPattern, type NumberRules, numberShape } from "./number-schema.ts";
import { isSet } from "./rules.ts";
import { type Dialect, type Shape, schemaOf } from "./schema-tree.ts";
import { bytesShape, stringShape } from "./string-schema.ts";

/**
 * The schema of a scalar.
 *
 * @param rules those of the value itself, not those of the list or map that it is in.
 * @param excludesZero whether the value must not be 0, empty or false.
 */
export function scalarShape(
  scalar: ScalarType,
  rules: FieldRules | undefined,
  excludesZero: boolean,
  dialect: Dialect,
): Shape {
  const { type } = rules ?? {};
  switch (scalar) {
    case ScalarType.STRING:
      return stringShape(type?.case === "string" ? type.value : undefined, excludesZero);
    case ScalarType.BYTES:
      return bytesShape(type?.case === "bytes" ? type.value : undefined, excludesZero);
    case ScalarType.BOOL: {
      const constant = type?.case === "bool" && isSet(type.value, "const") ? type.value.const : undefined;
      return { schema: schemaOf({ type: "boolean", const: excludesZero ? true : constant }), notes: [] };
    }
    default:
      return numberShape(scalar, type?.value as NumberRules | undefined, excludesZero, dialect);
  }
}

/** The schema of the keys of a map, which JSON holds as texts. Undefined: any text. */
export function keySchema(scalar: ScalarType, rules: FieldRules | undefined): Shape | undefined {
  switch (scalar) {
    case ScalarType.STRING: {
      const shape = stringShape(rules?.type.case === "string" ? rules.type.value : undefined, false);
      return shape.schema.size > 1 || shape.notes.length > 0 ? shape : undefined;
    }
    case ScalarType.BOOL:
      return { schema: schemaOf({ enum: ["true", "false"] }), notes: [] };
    default:
      return {
        schema: schemaOf({ pattern: integerPattern(scalar) }),
        notes: boundNotes(rules?.type.value as NumberRules | undefined),
      };
  }
}
