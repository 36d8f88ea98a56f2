import { create } from "@bufbuild/protobuf";
import { type Model, ModelLifecycle, ModelSchema } from "../../../gen/parley/v1/model_service_pb.js";
import { Reader } from "./reader.ts";
import { readTime } from "./response.ts";

const lifecycles = {
  active: ModelLifecycle.ACTIVE,
  deprecated: ModelLifecycle.DEPRECATED,
  retired: ModelLifecycle.RETIRED,
} as const;

/** A model from the exact JSON text of Claude's. */
export function modelFromClaude(json: string): Model {
  const reader = Reader.of(json);
  reader.raw("type");
  const text = (name: string) => reader.attempt(name, (model) => model.string(name)) ?? "";
  const count = (name: string) => reader.attempt(name, (model) => model.optionalInt(name));
  const time = (name: string) => reader.attempt(name, (model) => readTime(model, name));
  const lifecycle = text("lifecycle");
  return create(ModelSchema, {
    id: text("id"),
    displayName: text("display_name"),
    lifecycle: lifecycles[lifecycle as keyof typeof lifecycles] ?? ModelLifecycle.UNSPECIFIED,
    maxInputTokens: count("max_input_tokens"),
    maxTokens: count("max_tokens"),
    line: text("line"),
    capabilitiesJson: reader.raw("capabilities") ?? "",
    createTime: time("created_at"),
    deprecateTime: time("deprecated_at"),
    retireTime: time("retires_at"),
    extraJson: reader.extraJson(),
  });
}

/** Claude's name of a stage. */
export function lifecycleToClaude(lifecycle: ModelLifecycle): keyof typeof lifecycles {
  const found = Object.entries(lifecycles).find(([, value]) => value === lifecycle);
  if (found === undefined) throw new RangeError(`unknown lifecycle ${lifecycle}`);
  return found[0] as keyof typeof lifecycles;
}
