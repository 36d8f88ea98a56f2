import { create } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { type Model, ModelLifecycle, ModelSchema } from "../../../gen/parley/v1/model_service_pb.js";
import { Reader } from "./reader.ts";
import { readTime } from "./response.ts";

const lifecycles = [
  ["active", ModelLifecycle.ACTIVE],
  ["deprecated", ModelLifecycle.DEPRECATED],
  ["retired", ModelLifecycle.RETIRED],
] as const;

/** A model from the exact JSON text of Claude's. */
export function modelFromClaude(json: string): Model {
  const reader = Reader.of(json);
  reader.raw("type");
  const text = (name: string) => reader.attempt(name, (model) => model.string(name)) ?? "";
  const count = (name: string) => reader.attempt(name, (model) => model.optionalInt(name));
  const time = (name: string) => reader.attempt(name, (model) => readTime(model, name));
  const stage = text("lifecycle");
  return create(ModelSchema, {
    id: text("id"),
    displayName: text("display_name"),
    lifecycle: lifecycles.find(([name]) => name === stage)?.[1] ?? ModelLifecycle.UNSPECIFIED,
    maxInputTokens: count("max_input_tokens"),
    maxTokens: count("max_tokens"),
    line: text("line"),
    capabilitiesJson: reader.raw("capabilities") ?? "",
    createTime: releaseTime(time("created_at")),
    deprecateTime: time("deprecated_at"),
    retireTime: time("retires_at"),
    extraJson: reader.extraJson(),
  });
}

/** Claude tells a release date that it does not know as the epoch. */
function releaseTime(time: Timestamp | undefined): Timestamp | undefined {
  return time?.seconds === 0n ? undefined : time;
}

/** Claude's name of a stage. */
export function lifecycleToClaude(lifecycle: ModelLifecycle) {
  const found = lifecycles.find(([, value]) => value === lifecycle);
  if (found === undefined) throw new RangeError(`unknown lifecycle ${lifecycle}`);
  return found[0];
}
