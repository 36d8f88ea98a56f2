import { create } from "@bufbuild/protobuf";
import { ListToolsResponseSchema, SideEffect, ToolSchema, ToolService } from "../../gen/parley/v1/tool_service_pb.js";
import type { ToolRegistry } from "../tools/registry.ts";
import type { Tool } from "../tools/tool.ts";
import { type Method, unary } from "./call.ts";

const DEFAULT_PAGE_SIZE = 100;

const sideEffects = {
  unknown: SideEffect.UNSPECIFIED,
  none: SideEffect.NONE,
  idempotent: SideEffect.IDEMPOTENT,
  mutating: SideEffect.MUTATING,
} as const;

/** ListTools. A page token is the name of the last tool of the page before. */
export function listTools({ tools }: { readonly tools: ToolRegistry }): Method {
  return unary({
    desc: ToolService.method.listTools,
    async handle({ pageSize, pageToken }) {
      const following = tools.list().filter(({ name }) => name > pageToken);
      const page = following.slice(0, pageSize || DEFAULT_PAGE_SIZE);
      return create(ListToolsResponseSchema, {
        tools: page.map(toolMessage),
        nextPageToken: following.length > page.length ? (page.at(-1)?.name ?? "") : "",
      });
    },
  });
}

function toolMessage(tool: Tool) {
  return create(ToolSchema, {
    name: tool.name,
    description: tool.description,
    inputSchemaJson: tool.inputSchemaJson,
    grpcMethod: tool.grpcMethod ?? "",
    sideEffect: sideEffects[tool.sideEffect],
    requiresApproval: tool.requiresApproval,
  });
}
