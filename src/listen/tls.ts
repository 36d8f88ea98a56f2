import { unwatchFile, watchFile } from "node:fs";
import type { Http2SecureServer } from "node:http2";
import { readTls, type TlsFiles } from "../config/tls-files.ts";

/** How often files are looked at for a change, in milliseconds. */
const LOOK_INTERVAL_MS = 1_000;

/**
 * Gives the server new certificates when their files change; connections that are open keep theirs. Files that do not
 * fit together, as between the writing of one and of the other, leave the old ones in use until the next change.
 */
export function reloadTls(server: Http2SecureServer, files: TlsFiles, onReload: (error?: unknown) => void): Disposable {
  const paths = [files.certFile, files.keyFile, files.clientCaFile].filter((path) => path !== undefined);
  const reload = () => {
    try {
      server.setSecureContext(readTls(files));
      onReload();
    } catch (error) {
      onReload(error);
    }
  };
  for (const path of paths) watchFile(path, { interval: LOOK_INTERVAL_MS, persistent: false }, reload);
  return {
    [Symbol.dispose]() {
      for (const path of paths) unwatchFile(path, reload);
    },
  };
}
