import { invalidRequest } from "../../server/api-error.ts";
import { citableSources } from "../sources.ts";
import type { Rule } from "./rule.ts";

/** Citations are on for all documents or for none, likewise for search results, and never with a JSON answer. */
export const citationsRule: Rule = ({ request, turns }) => {
  const sources = citableSources(turns);
  for (const type of ["document", "search_result"] as const) {
    const settings = new Set(sources.filter((source) => source.block.type === type).map((source) => source.cited));
    if (settings.size > 1) {
      throw invalidRequest(`citations must be enabled on all or none of the ${type} blocks`, "messages");
    }
  }
  if (request.output_config?.format && sources.some((source) => source.cited)) {
    throw invalidRequest("citations cannot be used together with output_config.format");
  }
};
