import type {
  AssistantMessageParam,
  ContainerParams,
  DiagnosticsParam,
  JSONOutputFormat,
  MessageCountTokensParams,
  MessageCreateParamsBase,
  MessageParam,
  Metadata,
  OutputConfig,
  SkillParams,
  SystemMessageParam,
  ThinkingConfigAdaptive,
  ThinkingConfigBetweenTools,
  ThinkingConfigDisabled,
  ThinkingConfigEnabled,
  ThinkingConfigParam,
  UserMessageParam,
} from "@anthropic-ai/sdk/resources/messages/messages.js";
import { z } from "zod";
import { cacheControl, textBlock } from "./common.ts";
import { contentBlock } from "./content.ts";
import { anyObject, byValue, exact, isObject, stringOr, tagged } from "./primitives.ts";
import { tool, toolChoice } from "./tools.ts";
import { alternatives } from "./wording.ts";

const content = stringOr(z.array(contentBlock));

const messageByRole: Readonly<Record<MessageParam["role"], z.ZodType>> = {
  user: exact<UserMessageParam>({ role: z.literal("user"), content }),
  assistant: exact<AssistantMessageParam>({ role: z.literal("assistant"), content }),
  system: exact<SystemMessageParam>({ role: z.literal("system"), content: stringOr(z.array(textBlock)) }),
};

const isRole = (value: unknown): value is MessageParam["role"] =>
  typeof value === "string" && Object.hasOwn(messageByRole, value);

const message = byValue((value) => {
  if (!isObject(value)) return { problem: "Input should be an object" };
  if (value.role === undefined) return { problem: "Field required", at: ["role"] };
  if (isRole(value.role)) return { schema: messageByRole[value.role] };
  const roles = Object.keys(messageByRole).map((role) => `'${role}'`);
  return { problem: `Input should be ${alternatives(roles)}`, at: ["role"] };
});

const display = z.enum(["summarized", "omitted"]).nullish();

const thinking = tagged<ThinkingConfigParam["type"]>({
  adaptive: exact<ThinkingConfigAdaptive>({ type: z.literal("adaptive"), display }),
  enabled: exact<ThinkingConfigEnabled>({
    type: z.literal("enabled"),
    budget_tokens: z.int().min(1024),
    display,
  }),
  between_tools: exact<ThinkingConfigBetweenTools>({ type: z.literal("between_tools") }),
  disabled: exact<ThinkingConfigDisabled>({ type: z.literal("disabled") }),
});

const outputConfig = exact<OutputConfig>({
  effort: z.enum(["low", "medium", "high", "xhigh", "max"]).nullish(),
  format: exact<JSONOutputFormat>({ type: z.literal("json_schema"), schema: anyObject }).nullish(),
});

/** What a request to count tokens and one for a message share. */
const prompt = {
  messages: z.array(message).max(100_000),
  model: z.string().min(1),
  cache_control: cacheControl,
  output_config: outputConfig.optional(),
  speed: z.enum(["standard", "fast"]).nullish(),
  system: stringOr(z.array(textBlock)).optional(),
  thinking: thinking.optional(),
  tool_choice: toolChoice.optional(),
  tools: z.array(tool).optional(),
};

/** Members of the SDK's parameters that travel as headers. */
type HeaderParams = "user_profile_id" | "workspace_id";

/** The body of `POST /v1/messages/count_tokens`. */
export const countTokensParams = exact<Omit<MessageCountTokensParams, HeaderParams>>(prompt);

/** The body of `POST /v1/messages`. */
export const messagesParams = exact<Omit<MessageCreateParamsBase, HeaderParams>>({
  ...prompt,
  max_tokens: z.int().min(0),
  container: stringOr(
    exact<ContainerParams>({
      id: z.string().nullish(),
      skills: z
        .array(
          exact<SkillParams>({
            type: z.enum(["anthropic", "custom"]),
            skill_id: z.string().min(1).max(64),
            version: z.string().min(1).max(64).optional(),
          }),
        )
        .nullish(),
    }),
  ).nullish(),
  diagnostics: exact<DiagnosticsParam>({ previous_message_id: z.string().nullish() }).nullish(),
  inference_geo: z.string().nullish(),
  metadata: exact<Metadata>({ user_id: z.string().max(256).nullish() }).optional(),
  service_tier: z.enum(["auto", "standard_only"]).optional(),
  stop_sequences: z.array(z.string()).optional(),
  stream: z.boolean().optional(),
});
