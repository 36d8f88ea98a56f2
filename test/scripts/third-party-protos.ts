/**
 * Puts the third-party .proto files that ours import into node_modules/.protos, each from a package that carries it:
 * no file of another repository is kept in this one. `buf/validate/validate.proto` is shipped only as a descriptor,
 * and is printed from that.
 */
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { isFieldSet } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  FieldDescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from "@bufbuild/protobuf/wkt";
import { file_buf_validate_validate } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

const root = join(import.meta.dirname, "../..");
const target = join(root, "node_modules/.protos");

const shipped = {
  "google/rpc/error_details.proto": "google-gax/build/protos/google/rpc/error_details.proto",
  "google/rpc/status.proto": "google-gax/build/protos/google/rpc/status.proto",
  "grpc/health/v1/health.proto": "grpc-health-check/proto/health/v1/health.proto",
  "grpc/reflection/v1/reflection.proto": "@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto",
  "grpc/reflection/v1alpha/reflection.proto": "@grpc/reflection/build/proto/grpc/reflection/v1alpha/reflection.proto",
};

rmSync(target, { recursive: true, force: true });
for (const [path, source] of Object.entries(shipped)) {
  mkdirSync(dirname(join(target, path)), { recursive: true });
  cpSync(join(root, "node_modules", source), join(target, path));
}
mkdirSync(join(target, "buf/validate"), { recursive: true });
writeFileSync(join(target, "buf/validate/validate.proto"), printValidate());

/** Prints what a compiler needs; the CEL of the predefined rules, which only a validator reads, is left out. */
function printValidate(): string {
  const file = file_buf_validate_validate.proto;
  const extensions = file.extension.map((field) => `extend ${field.extendee} {\n${printField(field, "  ")}}\n`);
  return [
    'syntax = "proto2";\n',
    `package ${file.package};\n`,
    ...file.dependency.map((path) => `import "${path}";`),
    "",
    ...extensions,
    ...file.messageType.map((message) => printMessage(message)),
    ...file.enumType.map((enumeration) => printEnum(enumeration)),
  ].join("\n");
}

function printMessage(message: DescriptorProto): string {
  if (message.nestedType.length > 0 || message.enumType.length > 0 || message.extension.length > 0) {
    throw new Error(`${message.name}: nested declarations are not printed`);
  }
  let text = `message ${message.name} {\n`;
  for (const range of message.reservedRange) {
    text += `  reserved ${printRange(range.start, range.end - 1)};\n`;
  }
  for (const name of message.reservedName) {
    text += `  reserved "${name}";\n`;
  }
  const oneofOf = (field: FieldDescriptorProto) =>
    isFieldSet(field, FieldDescriptorProtoSchema.field.oneofIndex) ? field.oneofIndex : undefined;
  for (const field of message.field.filter((field) => oneofOf(field) === undefined)) {
    text += printField(field, "  ");
  }
  message.oneofDecl.forEach((oneof, index) => {
    const fields = message.field.filter((field) => oneofOf(field) === index);
    text += `  oneof ${oneof.name} {\n${fields.map((field) => printField(field, "    ", false)).join("")}  }\n`;
  });
  for (const range of message.extensionRange) {
    text += `  extensions ${printRange(range.start, range.end - 1)};\n`;
  }
  return `${text}}\n`;
}

function printField(field: FieldDescriptorProto, indent: string, labelled = true): string {
  const label = labelled ? `${Label[field.label].toLowerCase()} ` : "";
  const type = field.typeName || Type[field.type].toLowerCase();
  return `${indent}${label}${type} ${field.name} = ${field.number};\n`;
}

function printEnum(enumeration: EnumDescriptorProto): string {
  const values = enumeration.value.map((value) => `  ${value.name} = ${value.number};\n`);
  const reserved = enumeration.reservedRange.map((range) => `  reserved ${printRange(range.start, range.end)};\n`);
  return `enum ${enumeration.name} {\n${reserved.join("")}${values.join("")}}\n`;
}

function printRange(first: number, last: number): string {
  if (last >= 536_870_911) return `${first} to max`;
  return first === last ? `${first}` : `${first} to ${last}`;
}
