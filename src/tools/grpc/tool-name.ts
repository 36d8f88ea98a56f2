import type { GrpcServiceConfig } from "../../config/tools-schema.ts";

/** The longest name that Claude takes for a tool. */
const MAX_NAME_LENGTH = 128;

/** The name of the tool that a method becomes. */
export function toolNameOf({ name }: GrpcServiceConfig, method: GrpcServiceConfig["methods"][number]): string {
  return method.tool ?? `${name}_${snakeCase(method.name.slice(method.name.indexOf("/") + 1))}`;
}

/** `GetStock` becomes `get_stock`, and `GetHTTPRoute` becomes `get_http_route`. */
function snakeCase(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1_$2")
    .toLowerCase();
}

/** What is wrong with the names of all tools of all services, each after the path of the setting. */
export function nameProblems(configs: readonly GrpcServiceConfig[]): string[] {
  const paths = new Map<string, string>();
  const problems: string[] = [];
  for (const [index, config] of configs.entries()) {
    for (const [number, method] of config.methods.entries()) {
      const path = `tools.grpc.${index}.methods.${number}`;
      const name = toolNameOf(config, method);
      const taken = paths.get(name);
      if (name.length > MAX_NAME_LENGTH) {
        problems.push(`${path}: the name of its tool would have more than ${MAX_NAME_LENGTH} characters: set tool`);
      } else if (taken !== undefined) {
        problems.push(`${path}: its tool has the name ${name}, as that of ${taken} has: set tool to another one`);
      } else paths.set(name, path);
    }
  }
  return problems;
}
