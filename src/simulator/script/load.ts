import { readFile } from "node:fs/promises";
import { parseDocument } from "yaml";
import { parseScript, type Script, ScriptError } from "./format.ts";

/**
 * Reads a script from YAML, or from JSON, which is YAML.
 * @throws {ScriptError} with all problems of the text, or of the script.
 */
export function readScript(text: string): Script {
  const document = parseDocument(text);
  if (document.errors.length > 0) throw new ScriptError(document.errors.map((error) => error.message));
  return parseScript(document.toJS());
}

/** Reads a script from a file. */
export async function loadScript(path: string): Promise<Script> {
  return readScript(await readFile(path, "utf8"));
}
