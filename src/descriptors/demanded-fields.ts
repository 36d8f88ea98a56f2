import { create, type DescField, type DescMessage } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import type { Validator } from "@bufbuild/protovalidate";
import { rulesOf } from "./rules.ts";

/**
 * The fields that a message must have: those whose absence breaks a rule. Not only `required` is such a rule: a field
 * without presence is validated when it is absent too, and then has its zero value. So the validator is asked.
 */
export function demandedFields(desc: DescMessage, validator: Validator): ReadonlySet<DescField> {
  const ruled = desc.fields.filter(
    (field) => field.presence === FeatureSet_FieldPresence.LEGACY_REQUIRED || rulesOf(field) !== undefined,
  );
  if (ruled.length === 0) return new Set();
  const { violations } = validator.validate(desc, create(desc));
  if (violations === undefined) return new Set(ruled.filter((field) => rulesOf(field)?.required === true));
  const broken = new Set(violations.map(({ field }) => field[0]));
  return new Set(ruled.filter((field) => broken.has(field)));
}
