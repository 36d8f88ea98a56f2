import { randomBytes } from "node:crypto";

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/** A new identifier in Claude's style: the prefix, `01`, and 22 random letters and digits. */
export function newId(prefix: "req" | "msg" | "toolu" | "srvtoolu" | "container"): string {
  let id = `${prefix}_01`;
  for (const byte of randomBytes(22)) id += ALPHABET[byte % ALPHABET.length];
  return id;
}
