import type { DescMessage, Registry } from "@bufbuild/protobuf";

/** The type of the message in the JSON of an Any. Undefined: none is named, or it is not known. */
export function messageInAny(json: object, registry: Registry): DescMessage | undefined {
  const { "@type": url } = json as { "@type"?: unknown };
  return typeof url === "string" ? registry.getMessage(url.slice(url.lastIndexOf("/") + 1)) : undefined;
}
