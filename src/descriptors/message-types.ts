import type { DescMessage, FileRegistry } from "@bufbuild/protobuf";
import type { Validator } from "@bufbuild/protovalidate";
import { loadImage } from "./image.ts";
import { createMessageValidator } from "./message-json.ts";
import { type Dialect, messageSchema } from "./message-schema.ts";

/** A type of messages, with what else is needed to read one. */
export interface MessageType {
  readonly desc: DescMessage;
  /** Knows the types that an Any in a message may hold. */
  readonly registry: FileRegistry;
  readonly validator: Validator;
}

/** The types of messages that Parley has descriptors for. */
export class MessageTypes {
  readonly #sources: readonly { readonly registry: FileRegistry; validator?: Validator }[];
  readonly #schemas = new Map<string, { readonly text: string } | { readonly error: unknown }>();

  /** @param registries of two types with the same name, that of the earlier registry counts. */
  constructor(registries: readonly FileRegistry[]) {
    this.#sources = registries.map((registry) => ({ registry }));
  }

  /** The type of that full name, such as `inventory.v1.Item`. Undefined: there is none. */
  find(typeName: string): MessageType | undefined {
    for (const source of this.#sources) {
      const { registry } = source;
      const desc = registry.getMessage(typeName);
      if (desc === undefined) continue;
      source.validator ??= createMessageValidator(registry);
      return { desc, registry, validator: source.validator };
    }
    return undefined;
  }

  /** The full names of all types but Google's and protovalidate's own, sorted. */
  names(): readonly string[] {
    const names = new Set<string>();
    for (const { registry } of this.#sources) {
      for (const type of registry) if (type.kind === "message" && !isShipped(type.typeName)) names.add(type.typeName);
    }
    return [...names].sort();
  }

  /**
   * The schema of a type that there is: see `messageSchema`. Each is made once.
   *
   * @throws {ShapeError} when the dialect cannot hold it.
   */
  schema(typeName: string, dialect: Dialect): string {
    const key = `${dialect} ${typeName}`;
    let made = this.#schemas.get(key);
    if (made === undefined) {
      made = this.#make(typeName, dialect);
      this.#schemas.set(key, made);
    }
    if ("error" in made) throw made.error;
    return made.text;
  }

  #make(typeName: string, dialect: Dialect): { readonly text: string } | { readonly error: unknown } {
    const type = this.find(typeName);
    if (type === undefined) throw new TypeError(`there is no message type ${typeName}`);
    try {
      return { text: messageSchema(type.desc, dialect, type.validator) };
    } catch (error) {
      return { error };
    }
  }
}

function isShipped(typeName: string): boolean {
  return typeName.startsWith("google.protobuf.") || typeName.startsWith("buf.validate.");
}

/**
 * The types of all messages in descriptor images.
 *
 * @param paths of the images; one that is there twice is read once.
 * @throws {Error} as `loadImage`.
 */
export function loadMessageTypes(paths: Iterable<string>): MessageTypes {
  return new MessageTypes(Array.from(new Set(paths), loadImage));
}
