import type { Tool } from "../tool.ts";

/**
 * Told of what the operator should know of a service: what was thrown, and what it means. Neither holds anything of
 * what Claude or a caller wrote.
 */
export type OnProblem = (error: unknown, message: string) => void;

export interface GrpcToolsOptions {
  /** Told of services that cannot be asked for their descriptors, once for each reason, and of TLS files that are of no use. */
  readonly onProblem: OnProblem;
  /** Told each time that a service has been asked for its descriptors. */
  readonly onTools?: (service: string, tools: readonly Tool[]) => void;
}
