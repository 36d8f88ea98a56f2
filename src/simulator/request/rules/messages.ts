import type { ContentBlockParam, MessageParam } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { invalidRequest } from "../../server/api-error.ts";
import { verifyRedactedThinking, verifyThinking } from "../../signatures.ts";
import { blocksOf, systemBlocks, type Turn } from "../request.ts";
import type { Rule } from "./rule.ts";

/** There is something to answer, and it starts with the user. */
export const openingRule: Rule = ({ request }) => {
  const first = request.messages[0];
  if (!first) throw invalidRequest("at least one message is required", "messages");
  if (first.role === "system") {
    throw invalidRequest("use the top-level 'system' parameter for the initial system prompt", "messages.0");
  }
  if (first.role !== "user") throw invalidRequest('first message must use the "user" role', "messages");
};

/** Messages hold text that is not blank. */
export const emptyContentRule: Rule = ({ request }) => {
  for (const block of systemBlocks(request.system)) {
    if (block.text === "" && Array.isArray(request.system)) {
      throw invalidRequest("text content blocks must be non-empty", "system");
    }
  }
  for (const [index, message] of request.messages.entries()) {
    const blocks = blocksOf(message.content);
    const isEmpty = blocks.length === 0 || message.content === "";
    if (isEmpty && message.role === "system") {
      throw invalidRequest("system content must contain at least one block", `messages.${index}`);
    }
    if (isEmpty && !(message.role === "assistant" && index === request.messages.length - 1)) {
      throw invalidRequest(
        "all messages must have non-empty content except for the optional final assistant message",
        `messages.${index}`,
      );
    }
    if (isEmpty) continue;
    for (const block of blocks) {
      if (block.type !== "text" || block.text.trim() !== "") continue;
      const problem = block.text === "" ? "be non-empty" : "contain non-whitespace text";
      throw invalidRequest(`text content blocks must ${problem}`, "messages");
    }
  }
};

/** Which role may send which kinds of block. Server tool results are the assistant's, as their calls are. */
const USER_ONLY: readonly ContentBlockParam["type"][] = ["image", "document", "search_result", "tool_result"];
const BOTH: readonly ContentBlockParam["type"][] = ["text", "container_upload"];

function mayHold(role: MessageParam["role"], type: ContentBlockParam["type"]): boolean {
  if (BOTH.includes(type)) return true;
  return USER_ONLY.includes(type) === (role === "user");
}

/** Every block is in a message of a role that can have it. */
export const blockRolesRule: Rule = ({ request }) => {
  for (const [index, message] of request.messages.entries()) {
    for (const [position, block] of blocksOf(message.content).entries()) {
      if (!mayHold(message.role, block.type)) {
        const owner = message.role === "user" ? "assistant" : "user";
        throw invalidRequest(`\`${block.type}\` blocks can only be in \`${owner}\` messages`, `messages.${index}`);
      }
      if (block.type === "text" && message.role !== "assistant" && block.citations?.length) {
        throw invalidRequest(
          "citations can only be in `assistant` messages",
          `messages.${index}.content.${position}.text.citations`,
        );
      }
    }
  }
};

/** Where a message with the role `system` may stand, on a model that has them. */
export const systemMessagesRule: Rule = ({ model, turns }) => {
  for (const [index, turn] of turns.entries()) {
    if (turn.role !== "system") continue;
    const path = `messages.${turn.first}`;
    if (!model.systemMessages) throw invalidRequest("role 'system' is not supported on this model", path);
    const before = turns[index - 1];
    const after = turns[index + 1];
    if (before?.role === "assistant" && !endsInServerTool(before)) {
      throw invalidRequest(
        "role 'system' must follow a 'user' message or an 'assistant' message that ends in a server tool result",
        path,
      );
    }
    if (after && after.role !== "assistant") {
      throw invalidRequest("role 'system' must precede an 'assistant' message or end the array", path);
    }
  }
};

/** Whether a turn stopped while a server tool was at work, to be continued by sending it back. */
export function endsInServerTool(turn: Turn): boolean {
  const type = turn.blocks.at(-1)?.block.type;
  return type === "server_tool_use" || (type !== "tool_result" && type !== undefined && type.endsWith("_tool_result"));
}

/** A conversation that ends with the assistant is a prefill, or a paused turn to go on with. */
export const prefillRule: Rule = ({ request, model, turns }) => {
  const last = turns.at(-1);
  if (last?.role !== "assistant" || endsInServerTool(last)) return;
  if (!model.prefill) {
    throw invalidRequest(
      "This model does not support assistant message prefill. The conversation must end with a user message.",
    );
  }
  if (request.output_config?.format) {
    throw invalidRequest("Prefilling assistant messages is not supported with output_config.format.");
  }
  const opening = last.blocks[0];
  const thinks = request.thinking?.type === "enabled" || request.thinking?.type === "adaptive";
  if (thinks && opening && opening.block.type !== "thinking" && opening.block.type !== "redacted_thinking") {
    throw invalidRequest(
      `Expected \`thinking\` or \`redacted_thinking\`, but found \`${opening.block.type}\`. When \`thinking\` is enabled, a final \`assistant\` message must start with a thinking block.`,
      `${opening.path}.type`,
    );
  }
  const end = last.blocks.at(-1)?.block;
  if (end?.type === "text" && end.text !== end.text.trimEnd()) {
    throw invalidRequest("final assistant content cannot end with trailing whitespace", "messages");
  }
};

/** Thinking blocks come back as they were returned. */
export const thinkingBlocksRule: Rule = ({ turns }) => {
  const latest = turns.findLast((turn) => turn.role === "assistant");
  for (const turn of turns) {
    for (const { block, path } of turn.blocks) {
      if (block.type === "redacted_thinking" && verifyRedactedThinking(block.data) !== "genuine") {
        throw invalidRequest("Invalid `data` in `redacted_thinking` block", path);
      }
      if (block.type !== "thinking") continue;
      const verdict = verifyThinking(block);
      if (verdict === "edited" && turn === latest) {
        throw invalidRequest(
          "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response.",
          path,
        );
      }
      if (verdict !== "genuine") throw invalidRequest("Invalid `signature` in `thinking` block", path);
    }
  }
};
