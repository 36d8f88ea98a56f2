import type { FileRegistry } from "@bufbuild/protobuf";
import type { GrpcServiceConfig } from "../../config/tools-schema.ts";
import { loadImage } from "../../descriptors/image.ts";
import type { ToolSource } from "../tool.ts";
import { createMethodTool } from "./method-tool.ts";
import type { GrpcToolsOptions } from "./options.ts";
import { ReflectedTools } from "./reflected-tools.ts";
import { ServiceChannel } from "./service-channel.ts";
import { openClient } from "./service-client.ts";
import { defineTools, type MethodDefinition } from "./tool-definitions.ts";
import { nameProblems } from "./tool-name.ts";

export type { GrpcToolsOptions } from "./options.ts";

/** The tools cannot be had as they are configured. */
export class GrpcToolsError extends Error {
  override readonly name = "GrpcToolsError";
  /** All that is wrong, a line each, which begins with the path of the setting. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/**
 * All configured services as sources of tools.
 *
 * @throws {GrpcToolsError} with all that is wrong with all of them.
 */
export function grpcToolSources(configs: readonly GrpcServiceConfig[], options: GrpcToolsOptions): ToolSource[] {
  const problems = nameProblems(configs);
  const opens: (() => ToolSource)[] = [];
  for (const [index, config] of configs.entries()) {
    try {
      opens.push(prepare(config, `tools.grpc.${index}`, options));
    } catch (error) {
      if (!(error instanceof GrpcToolsError)) throw error;
      problems.push(...error.problems);
    }
  }
  if (problems.length > 0) throw new GrpcToolsError(problems);
  return opens.map((open) => open());
}

/**
 * The methods of a service as tools. With a descriptor image they are there at once. Without one the service is asked for its
 * descriptors in the background, until it has told of all methods.
 *
 * @param path of the service in the configuration, for messages.
 * @throws {GrpcToolsError} when a method cannot be a tool, the image cannot be read, or TLS files cannot be used.
 */
export function createGrpcTools(
  config: GrpcServiceConfig,
  options: GrpcToolsOptions,
  path = "tools.grpc.0",
): ToolSource {
  return prepare(config, path, options)();
}

/** Finds all that is wrong before anything is opened. */
function prepare(config: GrpcServiceConfig, path: string, options: GrpcToolsOptions): () => ToolSource {
  const problems: string[] = [];
  try {
    openClient(config, config.responseBytes).close();
  } catch (error) {
    problems.push(`${path}: the service cannot be called: ${(error as Error).message}`);
  }
  const openChannel = () => new ServiceChannel(config, options.onProblem);
  const { descriptors } = config;
  if (descriptors === undefined) {
    if (problems.length > 0) throw new GrpcToolsError(problems);
    return () => new ReflectedTools(config, path, openChannel(), options);
  }
  const definitions = readDefinitions(config, descriptors, path, problems);
  if (problems.length > 0) throw new GrpcToolsError(problems);
  return () => {
    const channel = openChannel();
    return {
      tools: definitions.map((definition) => createMethodTool(definition, config, channel)),
      async [Symbol.asyncDispose]() {
        channel[Symbol.dispose]();
      },
    };
  };
}

function readDefinitions(
  config: GrpcServiceConfig,
  descriptors: string,
  path: string,
  problems: string[],
): readonly MethodDefinition[] {
  let registry: FileRegistry;
  try {
    registry = loadImage(descriptors);
  } catch (error) {
    problems.push(`${path}.descriptors: ${(error as Error).message}`);
    return [];
  }
  const { definitions, problems: found } = defineTools(config, registry, { path, origin: descriptors });
  problems.push(...found);
  return definitions;
}
