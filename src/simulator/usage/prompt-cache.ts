import { createHash } from "node:crypto";
import type { SimulatedModel } from "../catalogue/model.ts";
import {
  automaticBreakpoint,
  type Breakpoint,
  type CacheTtl,
  type PromptBlock,
  readPromptBlocks,
} from "../request/prompt-blocks.ts";
import { isObject } from "../request/schema/primitives.ts";
import { countBlockTokens, countPromptTokens } from "./prompt-tokens.ts";

/** How the tokens of a prompt are billed. The four numbers are disjoint and add up to the whole prompt. */
export interface PromptUsage {
  /** Neither read from the cache nor written to it. */
  readonly input: number;
  readonly cacheRead: number;
  readonly cacheWrite5m: number;
  readonly cacheWrite1h: number;
}

/** What the cache does for a request. */
export interface CachedPrompt {
  readonly usage: PromptUsage;
  /** Keeps what was read alive, and writes the prefixes that the breakpoints mark. To be called when it is answered. */
  commit(): void;
}

/** Remembers prompt prefixes as Claude's prompt cache does. */
export interface PromptCache {
  /** Finds the longest known prefix of a request. Takes any JSON. */
  look(request: unknown, model: SimulatedModel): CachedPrompt;
}

export interface PromptCacheOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Overrides every model's shortest cached prefix, in tokens. */
  readonly minimumTokens?: number | undefined;
}

const TTL_MS: Readonly<Record<CacheTtl, number>> = { "5m": 300_000, "1h": 3_600_000 };

/** How many blocks a breakpoint looks back for a prefix that an earlier request wrote, itself included. */
const LOOKBACK = 20;

/** When there are more entries than this, expired ones are dropped. */
const MANY_ENTRIES = 10_000;

interface Entry {
  readonly ttl: CacheTtl;
  expiresAt: number;
}

/** A block with the hash and the length of the prompt up to its end. */
interface Position {
  readonly hash: string;
  readonly tokens: number;
  readonly ttl: CacheTtl | undefined;
}

/** An empty prompt cache. */
export function createPromptCache({ now, minimumTokens }: PromptCacheOptions): PromptCache {
  const entries = new Map<string, Entry>();

  function findHit(positions: readonly Position[]): number {
    for (let end = positions.length - 1; end >= 0; end--) {
      if (positions[end]?.ttl === undefined) continue;
      for (let index = end; index >= 0 && index > end - LOOKBACK; index--) {
        const entry = entries.get(positions[index]?.hash ?? "");
        if (entry && entry.expiresAt > now()) return index;
      }
    }
    return -1;
  }

  function write(hash: string, ttl: CacheTtl): void {
    if (entries.size > MANY_ENTRIES) {
      for (const [key, entry] of entries) if (entry.expiresAt <= now()) entries.delete(key);
    }
    entries.set(hash, { ttl, expiresAt: now() + TTL_MS[ttl] });
  }

  return {
    look(request, model) {
      const blocks = readPromptBlocks(request);
      const automatic = automaticBreakpoint(request, blocks);
      if (!automatic && blocks.every((block) => block.breakpoints.length === 0)) {
        const usage = { input: countPromptTokens(request), cacheRead: 0, cacheWrite5m: 0, cacheWrite1h: 0 };
        return { usage, commit: () => {} };
      }
      const positions = readPositions(blocks, automatic, salts(request, model));
      const total = positions.at(-1)?.tokens ?? 0;
      const minimum = minimumTokens ?? model.minimumCacheTokens;
      const hit = findHit(positions);
      const hitPosition = positions[hit];
      const written = { "5m": 0, "1h": 0 };
      const writes: { hash: string; ttl: CacheTtl }[] = [];
      if (hitPosition) writes.push({ hash: hitPosition.hash, ttl: entries.get(hitPosition.hash)?.ttl ?? "5m" });
      const cacheRead = hitPosition?.tokens ?? 0;
      let billed = cacheRead;
      for (const { hash, tokens, ttl } of positions.slice(hit + 1)) {
        if (ttl === undefined || tokens < minimum) continue;
        writes.push({ hash, ttl });
        written[ttl] += tokens - billed;
        billed = tokens;
      }
      return {
        usage: { input: total - billed, cacheRead, cacheWrite5m: written["5m"], cacheWrite1h: written["1h"] },
        commit: () => {
          for (const { hash, ttl } of writes) write(hash, ttl);
        },
      };
    },
  };
}

function readPositions(
  blocks: readonly PromptBlock[],
  automatic: Breakpoint | undefined,
  salt: Readonly<Record<PromptBlock["level"], string>>,
): Position[] {
  let hash = "";
  let tokens = 0;
  let level: PromptBlock["level"] | undefined;
  return blocks.map((block) => {
    const opening = block.level === level ? "" : salt[block.level];
    level = block.level;
    hash = createHash("sha256").update(hash).update(opening).update(canonical(block.value)).digest("base64");
    tokens += countBlockTokens(block.value);
    const own = block.breakpoints.at(-1)?.ttl;
    return { hash, tokens, ttl: own ?? (block.path === automatic?.path ? automatic.ttl : undefined) };
  });
}

/** What else makes prefixes differ, by the level from which on it matters (the prompt caching guide). */
function salts(request: unknown, model: SimulatedModel): Record<PromptBlock["level"], string> {
  const { speed, tool_choice: choice, thinking, output_config: config } = isObject(request) ? request : {};
  const effort = isObject(config) ? config.effort : undefined;
  const always = [model.info.id];
  const fromSystemOn = [...always, speed ?? null];
  return {
    tools: JSON.stringify(always),
    system: JSON.stringify(fromSystemOn),
    messages: JSON.stringify([...fromSystemOn, choice ?? null, thinking ?? null, effort ?? null]),
  };
}

/** A block as JSON without its cache markers, which do not change what the model reads. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (key, member) => (key === "cache_control" ? undefined : member)) ?? "";
}
