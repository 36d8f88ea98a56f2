import type { DescMethod } from "@bufbuild/protobuf";

/** Numbers of the fields of descriptor.proto, which source locations consist of. */
const FILE_SERVICE = 6;
const SERVICE_METHOD = 2;

/** What Claude is told of a method: the comment before it, and which service it belongs to. */
export function methodDescription(method: DescMethod): string {
  const { parent, name, methodKind } = method;
  const comment = commentOf(method);
  return [
    comment === "" ? `Calls ${parent.typeName}/${name}.` : comment,
    ...(methodKind === "server_streaming" ? ["The result is a list of the messages that it sends."] : []),
    ...(comment === "" ? [] : [`A method of ${parent.typeName}.`]),
  ].join("\n");
}

/** Empty: there is none, or the image was built without source info. */
function commentOf({ parent, proto }: DescMethod): string {
  const { file } = parent;
  const path = [
    FILE_SERVICE,
    file.proto.service.indexOf(parent.proto),
    SERVICE_METHOD,
    parent.proto.method.indexOf(proto),
  ];
  const location = file.proto.sourceCodeInfo?.location.find((candidate) => candidate.path.join() === path.join());
  const comment = location?.leadingComments || location?.trailingComments || "";
  return comment
    .split("\n")
    .map((line) => line.trim())
    .join("\n")
    .trim();
}
