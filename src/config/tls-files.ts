import { readFileSync } from "node:fs";

/** Files in PEM form. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Authorities that client certificates must come from. Unset: clients need none. */
  readonly clientCaFile?: string | undefined;
}

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
