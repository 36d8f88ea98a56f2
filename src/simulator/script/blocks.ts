import type { ContentBlock } from "@anthropic-ai/sdk/resources/messages/messages.js";
import { type OutputBlock, textOutput, thinkingOutput, toolOutput, wholeOutput } from "../answer/draft.ts";
import { newId } from "../server/ids.ts";
import { redactThinking, signThinking } from "../signatures.ts";

type Json = Readonly<Record<string, unknown>>;

/**
 * A block of a script as Claude would send it: what Claude always sends and the script leaves out is filled in, such as
 * identifiers and signatures, so that the block is accepted when it comes back. What the script says is kept, also
 * members and kinds of block that the simulator does not know.
 */
export function scriptedBlock(given: Json): OutputBlock {
  const block: Json = typeof given.type === "string" ? given : { type: Object.keys(given)[0], ...given };
  switch (block.type) {
    case "text": {
      const output = textOutput(String(block.text ?? ""));
      return { ...output, block: { ...output.block, ...block } as ContentBlock };
    }
    case "thinking": {
      const thinking = String(block.thinking ?? "");
      const signature = signThinking(thinking, thinking === "" ? "omitted" : "summarized");
      const filled = { thinking, signature, ...block } as ContentBlock;
      return { ...thinkingOutput(thinking, "summarized"), block: filled };
    }
    case "redacted_thinking": {
      const { redacted_thinking: text, ...rest }: Json = block;
      return wholeOutput({ data: redactThinking(String(text ?? "")), ...rest } as unknown as ContentBlock);
    }
    case "tool_use":
      return toolOutput({ id: newId("toolu"), input: {}, caller: { type: "direct" }, ...block } as never);
    case "server_tool_use":
      return toolOutput({ id: newId("srvtoolu"), input: {}, caller: { type: "direct" }, ...block } as never);
    default:
      return wholeOutput(block as unknown as ContentBlock);
  }
}
