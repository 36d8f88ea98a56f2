import type {
  ContentBlockParam,
  MessageCreateParamsBase,
  MessageParam,
  TextBlockParam,
  ToolUnion,
} from "@anthropic-ai/sdk/resources/messages/messages.js";

/** A request for a message, after its schema was checked. */
export type MessagesRequest = MessageCreateParamsBase;

/** What requests for a message and for a token count have in common. */
export type PromptRequest = Omit<MessagesRequest, "max_tokens"> & { max_tokens?: number };

/** A content block and where it stands: `messages.2.content.0`. */
export interface PlacedBlock {
  readonly block: ContentBlockParam;
  readonly path: string;
  /** Index of its message in `messages`. */
  readonly message: number;
}

/** Consecutive messages of one role, which Claude reads as one. */
export interface Turn {
  readonly role: MessageParam["role"];
  readonly blocks: readonly PlacedBlock[];
  /** Index of its first message in `messages`. */
  readonly first: number;
}

/** The blocks of a message; text alone stands for one text block. */
export function blocksOf(content: string | readonly ContentBlockParam[]): readonly ContentBlockParam[] {
  return typeof content === "string" ? [{ type: "text", text: content }] : content;
}

/** The conversation with consecutive messages of the same role combined. */
export function readTurns(messages: readonly MessageParam[]): readonly Turn[] {
  const turns: { role: MessageParam["role"]; blocks: PlacedBlock[]; first: number }[] = [];
  for (const [index, message] of messages.entries()) {
    let turn = turns.at(-1);
    if (turn?.role !== message.role) {
      turn = { role: message.role, blocks: [], first: index };
      turns.push(turn);
    }
    for (const [position, block] of blocksOf(message.content).entries()) {
      turn.blocks.push({ block, path: `messages.${index}.content.${position}`, message: index });
    }
  }
  return turns;
}

/** The system prompt as blocks. */
export function systemBlocks(system: PromptRequest["system"]): readonly TextBlockParam[] {
  if (system === undefined) return [];
  return typeof system === "string" ? [{ type: "text", text: system }] : system;
}

/** The name by which a tool is called, or `undefined` for a toolset, whose members have names of their own. */
export function toolName(tool: ToolUnion): string | undefined {
  return "name" in tool ? tool.name : undefined;
}
