import { create, type DescMethod, type DescService, type FileRegistry } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import type { Validator } from "@bufbuild/protovalidate";
import type { GrpcServiceConfig } from "../../config/tools-schema.ts";
import { createMessageValidator } from "../../descriptors/message-json.ts";
import { messageSchema } from "../../descriptors/message-schema.ts";
import type { SideEffect, Tool } from "../tool.ts";
import { methodDescription } from "./method-description.ts";
import { nearest } from "./nearest.ts";
import { toolNameOf } from "./tool-name.ts";

type MethodConfig = GrpcServiceConfig["methods"][number];

/** What is known of the tool that a method becomes. */
export interface MethodDefinition extends Omit<Tool, "call"> {
  readonly method: DescMethod;
  readonly types: Types;
}

interface Types {
  /** Knows the types that an Any may hold. */
  readonly registry: FileRegistry;
  readonly validator: Validator;
}

export interface Definitions {
  readonly definitions: readonly MethodDefinition[];
  /** Why other methods of the configuration are none: what is wrong, and what to do, each after the path of the setting. */
  readonly problems: readonly string[];
}

/**
 * Finds the configured methods in descriptors.
 *
 * @param path of the service entry in the configuration, such as `tools.grpc.0`.
 * @param origin where the descriptors come from, for messages.
 * @param services names of all services there.
 */
export function defineTools(
  config: GrpcServiceConfig,
  registry: FileRegistry,
  { path, origin, services = servicesOf(registry) }: { path: string; origin: string; services?: readonly string[] },
): Definitions {
  const types = { registry, validator: createMessageValidator(registry) };
  const definitions: MethodDefinition[] = [];
  const problems: string[] = [];
  for (const [index, entry] of config.methods.entries()) {
    try {
      const method = findMethod(entry.name, registry, origin, services);
      definitions.push({ ...define(entry, method, config, types.validator), method, types });
    } catch (error) {
      if (!(error instanceof UnusableMethod)) throw error;
      problems.push(`${path}.methods.${index}.name: ${error.message}`);
    }
  }
  return { definitions, problems };
}

/** A method that cannot become a tool. */
class UnusableMethod extends Error {}

function servicesOf(registry: FileRegistry): string[] {
  return Array.from(registry).flatMap((type) => (type.kind === "service" ? [type.typeName] : []));
}

function findMethod(name: string, registry: FileRegistry, origin: string, services: readonly string[]): DescMethod {
  const slash = name.indexOf("/");
  const [serviceName, methodName] = [name.slice(0, slash), name.slice(slash + 1)];
  const service: DescService | undefined = registry.getService(serviceName);
  if (service === undefined) {
    throw new UnusableMethod(`${origin} has no service ${serviceName}. ${choice(serviceName, services)}`);
  }
  const usable = service.methods.filter(isUsable);
  const method = service.methods.find((candidate) => candidate.name === methodName);
  const names = usable.map((candidate) => `${serviceName}/${candidate.name}`);
  if (method === undefined) {
    throw new UnusableMethod(`${serviceName} has no method ${methodName}. ${choice(name, names)}`);
  }
  if (!isUsable(method)) {
    const kind = method.methodKind === "client_streaming" ? "client-streaming" : "bidirectional";
    const rule = "only unary and server-streaming methods can be tools";
    throw new UnusableMethod(`${name} is ${kind}, but ${rule}. ${choice(name, names)}`);
  }
  return method;
}

function isUsable({ methodKind }: DescMethod): boolean {
  return methodKind === "unary" || methodKind === "server_streaming";
}

/** What there is instead. */
function choice(name: string, others: readonly string[]): string {
  return others.length === 0 ? "There is no other." : `There is ${nearest(name, others).join(", ")}`;
}

function define(entry: MethodConfig, method: DescMethod, config: GrpcServiceConfig, validator: Validator) {
  return {
    name: toolNameOf(config, entry),
    description: entry.description ?? methodDescription(method),
    inputSchemaJson: schemaOf(method, validator),
    sideEffect: sideEffectOf(method),
    requiresApproval: entry.approval ?? false,
    timeoutMs: entry.timeout ?? config.timeout,
    maxConcurrency: entry.concurrency ?? config.concurrency,
    grpcMethod: entry.name,
  };
}

function schemaOf({ input }: DescMethod, validator: Validator): string {
  // Rules that cannot be evaluated are found at the start, not with the first call.
  const checked = validator.validate(input, create(input));
  if (checked.kind === "error") {
    throw new UnusableMethod(`the rules of ${input.typeName} cannot be evaluated: ${checked.error.message}`);
  }
  try {
    return messageSchema(input, "tool", validator);
  } catch (error) {
    throw new UnusableMethod(`${input.typeName} cannot be the arguments of a tool: ${(error as Error).message}`);
  }
}

function sideEffectOf({ idempotency }: DescMethod): SideEffect {
  switch (idempotency) {
    case Idempotency.NO_SIDE_EFFECTS:
      return "none";
    case Idempotency.IDEMPOTENT:
      return "idempotent";
    case Idempotency.IDEMPOTENCY_UNKNOWN:
      return "unknown";
  }
}
