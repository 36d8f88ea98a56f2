import type { Client, RequestOptions, StandardSchemaV1 } from "@modelcontextprotocol/client";

/** The most tools of one server, and the most pages that they may come in. */
export const MAX_TOOLS = 1_000;
export const MAX_PAGES = 100;

interface Page {
  readonly tools: readonly unknown[];
  readonly nextCursor: string | undefined;
}

/** As little as listing needs: the SDK's own schema brings the members of each tool into another order, and refuses all
 * tools where one is wrong. */
const pageSchema: StandardSchemaV1<unknown, Page> = {
  "~standard": {
    version: 1,
    vendor: "parley",
    validate(value) {
      const { tools, nextCursor } = (value ?? {}) as { readonly tools?: unknown; readonly nextCursor?: unknown };
      if (!Array.isArray(tools)) return { issues: [{ message: "tools must be an array" }] };
      return { value: { tools, nextCursor: typeof nextCursor === "string" ? nextCursor : undefined } };
    },
  },
};

/**
 * All tools that a server has, as it sends them.
 *
 * @param problem is told when there are more than are read.
 */
export async function listTools(
  client: Client,
  options: RequestOptions,
  problem: (message: string) => void,
): Promise<readonly unknown[]> {
  const tools: unknown[] = [];
  const cursors = new Set<string>();
  for (let cursor: string | undefined, pages = 1; ; pages++) {
    const params = cursor === undefined ? {} : { cursor };
    const page = await client.request({ method: "tools/list", params }, pageSchema, options);
    tools.push(...page.tools);
    cursor = page.nextCursor;
    if (tools.length > MAX_TOOLS || (cursor !== undefined && tools.length === MAX_TOOLS)) {
      problem(`it has more than ${MAX_TOOLS} tools, of which the first ${MAX_TOOLS} are used`);
      return tools.slice(0, MAX_TOOLS);
    }
    if (cursor === undefined) return tools;
    if (cursors.has(cursor) || pages === MAX_PAGES) {
      problem(`its list of tools does not end: those of the first ${pages} pages are used`);
      return tools;
    }
    cursors.add(cursor);
  }
}
