import type { ModelCapabilities, ModelInfo, ModelLine } from "@anthropic-ai/sdk/resources/models.js";
import { EFFORT_LEVELS, type Effort, type SimulatedModel, type ThinkingType } from "./model.ts";

/** What one row of the catalogue says; the defaults are those of the current generation. */
interface Row {
  readonly id: string;
  readonly name: string;
  readonly line: ModelLine;
  /** Day of release; left out where it is not known, which `/v1/models` shows as the epoch. */
  readonly released?: string;
  readonly deprecated?: { readonly on: string; readonly retires?: string; readonly retired?: true };
  readonly aliases?: readonly string[];
  readonly contextWindow?: number;
  readonly maxTokens?: number;
  readonly thinking?: readonly ThinkingType[];
  readonly thinkingOffNeedsLowEffort?: boolean;
  readonly display?: "summarized" | "omitted";
  readonly effort?: readonly Effort[];
  readonly prefill?: boolean;
  readonly forcedToolUse?: boolean;
  readonly systemMessages?: boolean;
  readonly minimumCacheTokens?: number;
}

const UP_TO_MAX_WITHOUT_XHIGH: readonly Effort[] = ["low", "medium", "high", "max"];
const UP_TO_HIGH: readonly Effort[] = ["low", "medium", "high"];

/** Claude 4.5 and earlier: a budget for thinking, prefill, and the shorter context window. */
const EARLY = {
  contextWindow: 200_000,
  maxTokens: 64_000,
  thinking: ["enabled", "disabled"],
  display: "summarized",
  effort: [],
  prefill: true,
  systemMessages: false,
} as const satisfies Partial<Row>;

/**
 * The models of the SDK's `Model` type, newest first, and those retired in 2026. Limits, thinking types, effort levels
 * and the other rules are those of the public model pages (thinking troubleshooting, effort, prompt caching and the
 * "what's new" page of each model). Claude Fable 5.2 and Mythos 5.2 follow 5.1, and the days on which Mythos Preview and
 * Sonnet 4.5 were deprecated are a guess, since the pages do not tell.
 */
const ROWS: readonly Row[] = [
  { id: "claude-fable-5-2", name: "Claude Fable 5.2", line: "fable", forcedToolUse: false },
  { id: "claude-mythos-5-2", name: "Claude Mythos 5.2", line: "mythos", forcedToolUse: false },
  {
    id: "claude-haiku-5-5",
    name: "Claude Haiku 5.5",
    line: "haiku",
    released: "2026-10-07",
    thinking: ["adaptive", "disabled"],
    thinkingOffNeedsLowEffort: true,
  },
  {
    id: "claude-sonnet-5-5",
    name: "Claude Sonnet 5.5",
    line: "sonnet",
    released: "2026-09-28",
    thinking: ["adaptive", "between_tools"],
    thinkingOffNeedsLowEffort: true,
    forcedToolUse: false,
  },
  { id: "claude-opus-5-5", name: "Claude Opus 5.5", line: "opus", released: "2026-09-22", forcedToolUse: false },
  { id: "claude-fable-5-1", name: "Claude Fable 5.1", line: "fable", released: "2026-09-01", forcedToolUse: false },
  { id: "claude-mythos-5-1", name: "Claude Mythos 5.1", line: "mythos", released: "2026-09-01", forcedToolUse: false },
  {
    id: "claude-opus-5",
    name: "Claude Opus 5",
    line: "opus",
    released: "2026-07-24",
    thinking: ["adaptive", "disabled"],
    thinkingOffNeedsLowEffort: true,
  },
  {
    id: "claude-sonnet-5",
    name: "Claude Sonnet 5",
    line: "sonnet",
    released: "2026-06-30",
    thinking: ["adaptive", "disabled"],
    systemMessages: false,
    minimumCacheTokens: 1024,
  },
  { id: "claude-fable-5", name: "Claude Fable 5", line: "fable", released: "2026-06-09", forcedToolUse: false },
  { id: "claude-mythos-5", name: "Claude Mythos 5", line: "mythos", released: "2026-06-09", forcedToolUse: false },
  {
    id: "claude-opus-4-8",
    name: "Claude Opus 4.8",
    line: "opus",
    released: "2026-05-28",
    thinking: ["adaptive", "disabled"],
    minimumCacheTokens: 1024,
  },
  {
    id: "claude-opus-4-7",
    name: "Claude Opus 4.7",
    line: "opus",
    released: "2026-04-16",
    thinking: ["adaptive", "disabled"],
    systemMessages: false,
    minimumCacheTokens: 2048,
  },
  {
    id: "claude-mythos-preview",
    name: "Claude Mythos Preview",
    line: "mythos",
    deprecated: { on: "2026-06-09" },
    thinking: ["adaptive", "enabled"],
    effort: UP_TO_MAX_WITHOUT_XHIGH,
    forcedToolUse: false,
    systemMessages: false,
    minimumCacheTokens: 2048,
  },
  {
    id: "claude-sonnet-4-6",
    name: "Claude Sonnet 4.6",
    line: "sonnet",
    released: "2026-02-17",
    thinking: ["adaptive", "enabled", "disabled"],
    display: "summarized",
    effort: UP_TO_MAX_WITHOUT_XHIGH,
    systemMessages: false,
    minimumCacheTokens: 1024,
  },
  {
    id: "claude-opus-4-6",
    name: "Claude Opus 4.6",
    line: "opus",
    released: "2026-02-05",
    thinking: ["adaptive", "enabled", "disabled"],
    display: "summarized",
    effort: UP_TO_MAX_WITHOUT_XHIGH,
    systemMessages: false,
    minimumCacheTokens: 4096,
  },
  {
    ...EARLY,
    id: "claude-opus-4-5-20251101",
    name: "Claude Opus 4.5",
    line: "opus",
    released: "2025-11-24",
    aliases: ["claude-opus-4-5"],
    effort: UP_TO_HIGH,
    minimumCacheTokens: 4096,
  },
  {
    ...EARLY,
    id: "claude-haiku-4-5-20251001",
    name: "Claude Haiku 4.5",
    line: "haiku",
    released: "2025-10-15",
    aliases: ["claude-haiku-4-5"],
    minimumCacheTokens: 4096,
  },
  {
    ...EARLY,
    id: "claude-sonnet-4-5-20250929",
    name: "Claude Sonnet 4.5",
    line: "sonnet",
    released: "2025-09-29",
    deprecated: { on: "2026-09-29", retires: "2026-11-30" },
    aliases: ["claude-sonnet-4-5"],
    minimumCacheTokens: 1024,
  },
  {
    ...EARLY,
    id: "claude-opus-4-1-20250805",
    name: "Claude Opus 4.1",
    line: "opus",
    released: "2025-08-05",
    deprecated: { on: "2026-06-05", retires: "2026-08-05", retired: true },
    aliases: ["claude-opus-4-1"],
    maxTokens: 32_000,
    minimumCacheTokens: 1024,
  },
  {
    ...EARLY,
    id: "claude-sonnet-4-20250514",
    name: "Claude Sonnet 4",
    line: "sonnet",
    released: "2025-05-22",
    deprecated: { on: "2026-04-14", retires: "2026-06-15", retired: true },
    aliases: ["claude-sonnet-4-0"],
    minimumCacheTokens: 1024,
  },
];

function createModel(row: Row): SimulatedModel {
  const { aliases = [], contextWindow = 1_000_000, maxTokens = 128_000, display = "omitted" } = row;
  const { thinking = ["adaptive"], effort = EFFORT_LEVELS } = row;
  return {
    info: createInfo(row, { contextWindow, maxTokens, thinking, effort }),
    aliases,
    contextWindow,
    maxTokens,
    thinkingTypes: thinking,
    thinkingOffNeedsLowEffort: row.thinkingOffNeedsLowEffort ?? false,
    display,
    effort,
    prefill: row.prefill ?? false,
    forcedToolUse: row.forcedToolUse ?? true,
    systemMessages: row.systemMessages ?? true,
    minimumCacheTokens: row.minimumCacheTokens ?? 512,
  };
}

const at = (day: string | undefined) => (day === undefined ? null : `${day}T00:00:00Z`);

function createInfo(
  row: Row,
  limits: { contextWindow: number; maxTokens: number; thinking: readonly ThinkingType[]; effort: readonly Effort[] },
): ModelInfo {
  const lifecycle = row.deprecated?.retired ? "retired" : row.deprecated ? "deprecated" : "active";
  return {
    type: "model",
    id: row.id,
    display_name: row.name,
    line: row.line,
    created_at: at(row.released) ?? "1970-01-01T00:00:00Z",
    lifecycle,
    deprecated_at: at(row.deprecated?.on),
    retires_at: at(row.deprecated?.retires),
    max_input_tokens: limits.contextWindow,
    max_tokens: limits.maxTokens,
    capabilities: createCapabilities(limits.thinking, limits.effort),
  };
}

function createCapabilities(thinking: readonly ThinkingType[], effort: readonly Effort[]): ModelCapabilities {
  const yes = { supported: true };
  const takes = (type: ThinkingType) => ({ supported: thinking.includes(type) });
  const reaches = (level: Effort) => ({ supported: effort.includes(level) });
  return {
    batch: yes,
    citations: yes,
    code_execution: yes,
    context_management: {
      supported: true,
      clear_thinking_20251015: yes,
      clear_tool_uses_20250919: yes,
      compact_20260112: yes,
    },
    effort: {
      supported: effort.length > 0,
      low: reaches("low"),
      medium: reaches("medium"),
      high: reaches("high"),
      xhigh: reaches("xhigh"),
      max: reaches("max"),
    },
    image_input: yes,
    pdf_input: yes,
    server_tools: { supported: true, code_execution: yes, web_search: yes },
    structured_outputs: yes,
    thinking: {
      supported: true,
      types: {
        adaptive: takes("adaptive"),
        enabled: takes("enabled"),
        disabled: takes("disabled"),
        between_tools: takes("between_tools"),
      },
    },
  };
}

/** Every model the simulator knows, newest first. */
export function createCatalogue(): readonly SimulatedModel[] {
  return ROWS.map(createModel);
}
