import { readFileSync, unwatchFile, watchFile } from "node:fs";
import type { Http2SecureServer } from "node:http2";

/** Files in PEM form. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Authorities that client certificates must come from. Unset: clients need none. */
  readonly clientCaFile?: string | undefined;
}

/** How often files are looked at for a change, in milliseconds. */
const LOOK_INTERVAL_MS = 1_000;

/**
 * Reads the files.
 *
 * @throws {Error} when one cannot be read.
 */
export function readTls({ certFile, keyFile, clientCaFile }: TlsFiles): { cert: Buffer; key: Buffer; ca?: Buffer } {
  return {
    cert: readFileSync(certFile),
    key: readFileSync(keyFile),
    ...(clientCaFile !== undefined && { ca: readFileSync(clientCaFile) }),
  };
}

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
