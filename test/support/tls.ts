import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = join(import.meta.dirname, "test-certificates");

/** Certificates by the name of their file (see `test-certificates/make.sh`). */
export type CertificateName =
  | "authority"
  | "other-authority"
  | "server"
  | "renewed-server"
  | "client"
  | "strange-client";

/** A certificate with its private key. */
export function certificate(name: CertificateName): { cert: Buffer; key: Buffer } {
  return { cert: readFileSync(join(folder, `${name}.pem`)), key: readFileSync(join(folder, `${name}.key`)) };
}

/** Copies a certificate and its private key to files. */
export function copyCertificate(name: CertificateName, certFile: string, keyFile: string): void {
  copyFileSync(join(folder, `${name}.pem`), certFile);
  copyFileSync(join(folder, `${name}.key`), keyFile);
}

/** What a caller that knows the service's authority trusts. */
export const trust = { ca: certificate("authority").cert };

/** Files of the service's own, which a test may replace. */
export interface TlsFolder extends Disposable {
  readonly path: string;
  readonly files: { readonly certFile: string; readonly keyFile: string };
  readonly filesWithClients: { readonly certFile: string; readonly keyFile: string; readonly clientCaFile: string };
  /** Puts a certificate in the place of the one in the folder. */
  putCert(name: CertificateName): void;
  putKey(name: CertificateName): void;
  putClientCa(name: CertificateName): void;
}

export function createTlsFolder(): TlsFolder {
  const path = mkdtempSync(join(tmpdir(), "parley-tls-"));
  const files = { certFile: join(path, "tls.crt"), keyFile: join(path, "tls.key") };
  const filesWithClients = { ...files, clientCaFile: join(path, "ca.crt") };
  const put = (source: string, target: string) => copyFileSync(join(folder, source), target);
  const tls: TlsFolder = {
    path,
    files,
    filesWithClients,
    putCert: (name) => put(`${name}.pem`, files.certFile),
    putKey: (name) => put(`${name}.key`, files.keyFile),
    putClientCa: (name) => put(`${name}.pem`, filesWithClients.clientCaFile),
    [Symbol.dispose]: () => rmSync(path, { recursive: true }),
  };
  tls.putCert("server");
  tls.putKey("server");
  tls.putClientCa("authority");
  return tls;
}
