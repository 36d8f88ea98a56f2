import type { DescEnum, DescEnumValue, DescField, DescFile, DescMessage } from "@bufbuild/protobuf";

/** Longer comments are cut. In characters. */
const MAX_COMMENT = 1_000;

/** Numbers of the fields of descriptor.proto, which source locations consist of. */
const FILE_MESSAGE = 4;
const FILE_ENUM = 5;
const MESSAGE_FIELD = 2;
const MESSAGE_NESTED = 3;
const MESSAGE_ENUM = 4;
const ENUM_VALUE = 2;

/** The comments of a file by the location that they belong to, made once a file. */
const indexes = new WeakMap<DescFile, ReadonlyMap<string, string>>();

/**
 * The comment before a declaration, or else the one behind it, in one trimmed text. Empty: there is none, or the image was
 * built without source info.
 */
export function commentOf(desc: DescMessage | DescField | DescEnum | DescEnumValue): string {
  const file = desc.kind === "field" || desc.kind === "enum_value" ? desc.parent.file : desc.file;
  // Those of Google's own types are for programmers.
  if (file.proto.package === "google.protobuf") return "";
  return indexOf(file).get(pathOf(desc).join()) ?? "";
}

function indexOf(file: DescFile): ReadonlyMap<string, string> {
  let index = indexes.get(file);
  if (index === undefined) {
    const comments = new Map<string, string>();
    for (const { path, leadingComments, trailingComments } of file.proto.sourceCodeInfo?.location ?? []) {
      const comment = clean(leadingComments) || clean(trailingComments);
      if (comment !== "") comments.set(path.join(), comment);
    }
    index = comments;
    indexes.set(file, index);
  }
  return index;
}

/** What tools say to each other in comments is not for readers. */
const PRAGMA = /^(?:buf:lint:|@exclude|\(--)/;

function clean(comment: string): string {
  const lines = comment.split("\n").map((line) => line.trim());
  const text = lines
    .filter((line) => !PRAGMA.test(line))
    .join("\n")
    .trim();
  return text.length > MAX_COMMENT ? `${text.slice(0, MAX_COMMENT - 1)}…`.toWellFormed() : text;
}

function pathOf(desc: DescMessage | DescField | DescEnum | DescEnumValue): number[] {
  switch (desc.kind) {
    case "field":
      return [...pathOf(desc.parent), MESSAGE_FIELD, desc.parent.proto.field.indexOf(desc.proto)];
    case "enum_value":
      return [...pathOf(desc.parent), ENUM_VALUE, desc.parent.proto.value.indexOf(desc.proto)];
    case "message":
      return desc.parent === undefined
        ? [FILE_MESSAGE, desc.file.proto.messageType.indexOf(desc.proto)]
        : [...pathOf(desc.parent), MESSAGE_NESTED, desc.parent.proto.nestedType.indexOf(desc.proto)];
    case "enum":
      return desc.parent === undefined
        ? [FILE_ENUM, desc.file.proto.enumType.indexOf(desc.proto)]
        : [...pathOf(desc.parent), MESSAGE_ENUM, desc.parent.proto.enumType.indexOf(desc.proto)];
  }
}
