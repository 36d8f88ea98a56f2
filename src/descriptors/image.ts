import { readFileSync } from "node:fs";
import { create, createFileRegistry, type FileRegistry, fromBinary } from "@bufbuild/protobuf";
import {
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_any,
  file_google_protobuf_api,
  file_google_protobuf_descriptor,
  file_google_protobuf_duration,
  file_google_protobuf_empty,
  file_google_protobuf_field_mask,
  file_google_protobuf_source_context,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_type,
  file_google_protobuf_wrappers,
} from "@bufbuild/protobuf/wkt";
import { file_buf_validate_validate } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

/** Files that every registry has, whether or not an image brings them: messages of an Any may be theirs. */
const shipped: readonly FileDescriptorProto[] = [
  file_google_protobuf_any,
  file_google_protobuf_api,
  file_google_protobuf_descriptor,
  file_google_protobuf_duration,
  file_google_protobuf_empty,
  file_google_protobuf_field_mask,
  file_google_protobuf_source_context,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_type,
  file_google_protobuf_wrappers,
  file_buf_validate_validate,
].map(({ proto }) => proto);

/**
 * Reads a descriptor image: the file that `buf build -o x.binpb` or `protoc --include_imports -o` makes.
 *
 * @throws {Error} that names the file and says what is wrong: it cannot be read, is no image, or lacks an import.
 */
export function loadImage(path: string): FileRegistry {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new Error(`${path} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  try {
    return parseImage(bytes);
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * What the bytes of a descriptor image describe.
 *
 * @throws {Error} that says what is wrong.
 */
export function parseImage(bytes: Uint8Array): FileRegistry {
  const hint = "make one with: buf build -o image.binpb";
  let files: FileDescriptorProto[];
  try {
    files = fromBinary(FileDescriptorSetSchema, bytes).file;
  } catch (error) {
    throw new Error(`is no descriptor image (${hint})`, { cause: error });
  }
  // Many other bytes can be read as a set of no files, or of files without a name.
  if (files.length === 0 || files.some(({ name }) => name === "")) {
    throw new Error(`is no descriptor image, or is empty (${hint})`);
  }
  return registryOf(files);
}

/**
 * What files describe that came one by one, as server reflection sends them: in any order, some perhaps twice.
 *
 * @param files the bytes of a FileDescriptorProto each.
 * @throws {Error} that says what is wrong.
 */
export function registryOfFiles(files: Iterable<Uint8Array>): FileRegistry {
  return registryOf(
    Array.from(files, (bytes) => {
      try {
        return fromBinary(FileDescriptorProtoSchema, bytes);
      } catch (error) {
        throw new Error("a file descriptor cannot be decoded", { cause: error });
      }
    }),
  );
}

function registryOf(files: readonly FileDescriptorProto[]): FileRegistry {
  const byName = new Map<string, FileDescriptorProto>();
  // What an image brings itself goes before what is shipped.
  for (const file of [...shipped, ...files]) byName.set(file.name, file);
  const set = create(FileDescriptorSetSchema, { file: inOrderOfImports(byName) });
  try {
    return createFileRegistry(set);
  } catch (error) {
    throw new Error(`the descriptors cannot be used: ${(error as Error).message}`, { cause: error });
  }
}

/** All files, each after those that it imports. */
function inOrderOfImports(byName: ReadonlyMap<string, FileDescriptorProto>): FileDescriptorProto[] {
  const ordered = new Set<FileDescriptorProto>();
  const open = new Set<string>();
  // A stack of its own: a chain of imports may be longer than the call stack is deep.
  const stack: { file: FileDescriptorProto; imports: Iterator<string> }[] = [];
  const enter = (file: FileDescriptorProto) => {
    open.add(file.name);
    stack.push({ file, imports: file.dependency[Symbol.iterator]() });
  };
  for (const root of byName.values()) {
    if (!ordered.has(root)) enter(root);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const { value: name, done } = top.imports.next();
      if (done === true) {
        stack.pop();
        open.delete(top.file.name);
        ordered.add(top.file);
        continue;
      }
      const imported = byName.get(name);
      if (imported === undefined) {
        throw new Error(`${top.file.name} imports ${name}, which is missing: build the image with its imports`);
      }
      if (open.has(name)) throw new Error(`${top.file.name} imports ${name}, which imports it in turn`);
      if (!ordered.has(imported)) enter(imported);
    }
  }
  return [...ordered];
}
