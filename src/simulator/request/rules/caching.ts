import { invalidRequest } from "../../server/api-error.ts";
import { automaticBreakpoint, canEndPrefix, readPromptBlocks } from "../prompt-blocks.ts";
import type { Rule } from "./rule.ts";

/** The most cache breakpoints in one request, the automatic one included. */
const MAX_BREAKPOINTS = 4;

/** How many breakpoints there may be, where, and in which order their lifetimes. */
export const cachingRule: Rule = ({ request }) => {
  const blocks = readPromptBlocks(request);
  const breakpoints = blocks.flatMap((block) => block.breakpoints);
  for (const block of blocks) {
    if (block.breakpoints.length > 0 && !canEndPrefix(block.value) && block.level !== "tools") {
      throw invalidRequest("cache_control cannot be set for empty text blocks", block.path);
    }
  }
  const automatic = automaticBreakpoint(request, blocks);
  const explicit = automatic && breakpoints.find(({ path }) => path === automatic.path);
  if (explicit && explicit.ttl !== automatic.ttl) {
    throw invalidRequest(
      `the last block already has cache_control with ttl='${explicit.ttl}', which differs from ttl='${automatic.ttl}'`,
      "cache_control",
    );
  }
  if (automatic && !explicit) breakpoints.push(automatic);
  if (breakpoints.length > MAX_BREAKPOINTS) {
    throw invalidRequest(
      `A maximum of ${MAX_BREAKPOINTS} blocks with cache_control may be provided. Found ${breakpoints.length}.`,
    );
  }
  const firstShort = breakpoints.findIndex(({ ttl }) => ttl === "5m");
  const lateLong = firstShort < 0 ? undefined : breakpoints.slice(firstShort).find(({ ttl }) => ttl === "1h");
  if (lateLong) {
    throw invalidRequest(
      "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`.",
      `${lateLong.path}.cache_control.ttl`,
    );
  }
};
