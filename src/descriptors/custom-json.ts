/** Google's messages whose JSON is not an object of their fields. */
const custom = new Set(
  [
    "Any",
    "Timestamp",
    "Duration",
    "FieldMask",
    "Struct",
    "Value",
    "ListValue",
    "DoubleValue",
    "FloatValue",
    "Int64Value",
    "UInt64Value",
    "Int32Value",
    "UInt32Value",
    "BoolValue",
    "StringValue",
    "BytesValue",
  ].map((name) => `google.protobuf.${name}`),
);

/** Whether the JSON of a type of message is not an object of its fields. */
export function hasCustomJson(typeName: string): boolean {
  return custom.has(typeName);
}
