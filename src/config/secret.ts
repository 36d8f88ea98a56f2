import { readFile, stat } from "node:fs/promises";

/** A value that must not be shown, and may change while the process runs. */
export interface Secret {
  /**
   * The value as it is now.
   *
   * @throws {Error} when its file cannot be read or is empty.
   */
  read(): Promise<string>;
}

/** A secret that was given directly. */
export function secretValue(value: string): Secret {
  return { read: async () => value };
}

/** How long a file is believed not to have changed, in milliseconds. */
const BELIEVED_MS = 1_000;

/**
 * A secret in a file, without the white space around it. A change of the file is seen within a second; Kubernetes
 * changes mounted secrets by turning a symbolic link, which counts as one.
 */
export function secretFile(path: string, now: () => number = () => performance.now()): Secret {
  let value = "";
  let version = "";
  let checkedAt = Number.NEGATIVE_INFINITY;
  let pending: Promise<string> | undefined;

  async function refresh(): Promise<string> {
    const { ino, mtimeMs, size } = await stat(path);
    const current = `${ino}:${mtimeMs}:${size}`;
    if (current !== version) {
      const text = (await readFile(path, "utf8")).trim();
      if (text === "") throw new Error(`${path} is empty`);
      value = text;
      version = current;
    }
    checkedAt = now();
    return value;
  }

  return {
    async read() {
      if (now() - checkedAt < BELIEVED_MS) return value;
      pending ??= refresh().finally(() => {
        pending = undefined;
      });
      return pending;
    },
  };
}
