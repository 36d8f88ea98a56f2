import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { certificate } from "../support/tls.ts";
import type { Manifest, Manifests } from "./helm.ts";

/** What a container of the deployment is given: its environment, and its volumes in a temporary folder. */
export interface Mounted extends Disposable {
  readonly env: Readonly<Record<string, string>>;
  /** The place of a path in the container. */
  readonly at: (path: string) => string;
}

const CERTIFICATES: Readonly<Record<string, Buffer>> = {
  "tls.crt": certificate("server").cert,
  "tls.key": certificate("server").key,
  "ca.crt": certificate("authority").cert,
};

/** Absolute paths in a text. */
const PATH = /(?<![\w:/.-])\/(?:etc|var)\/[\w./-]+/g;

/**
 * Does what the kubelet does for the container.
 *
 * @param secrets values of variables that come from Secrets which are not of the chart, by the names of the variables.
 */
export function mount(manifests: Manifests, secrets: Readonly<Record<string, string>> = {}): Mounted {
  const folder = mkdtempSync(join(tmpdir(), "parley-pod-"));
  const { volumeMounts, env: variables } = manifests.container;
  const mounts: readonly { name: string; mountPath: string }[] = volumeMounts;
  const at = (path: string) => join(folder, path);
  const put = (path: string, content: string | Buffer) => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), content);
  };
  const moved = (text: string) => text.replaceAll(PATH, at);

  const env: Record<string, string> = {};
  for (const { name, value, valueFrom } of variables) {
    const text = value ?? secrets[name] ?? valueFrom.fieldRef.fieldPath;
    env[name] = text.replaceAll(/\$\((\w+)\)/g, (_: string, other: string) => env[other]);
  }
  // Files of others are those that are named somewhere.
  for (const path of Object.values(env).concat(manifests.configText).join("\n").match(PATH) ?? []) {
    const mount = mounts.find(({ mountPath }) => path.startsWith(`${mountPath}/`));
    assert.ok(mount, `${path} is in no volume of the container`);
    put(path, CERTIFICATES[path.slice(mount.mountPath.length + 1)] ?? "something");
  }
  for (const { name, mountPath } of mounts) {
    const volume = manifests.pod.volumes.find((volume: Manifest) => volume.name === name);
    assert.ok(volume, `there is no volume ${name}`);
    for (const [key, content] of Object.entries(contentOf(volume, manifests))) {
      put(`${mountPath}/${key}`, key === "parley.yaml" ? moved(String(content)) : content);
    }
  }
  return {
    env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, moved(value)])),
    at,
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  };
}

/** What the chart itself puts into a volume. */
function contentOf(volume: Manifest, manifests: Manifests): Readonly<Record<string, string | Buffer>> {
  const named = (kind: string, name: string) => manifests.of(kind).find(({ metadata }) => metadata.name === name)?.data;
  if (volume.configMap !== undefined) return named("ConfigMap", volume.configMap.name) ?? {};
  const data: Readonly<Record<string, string>> = named("Secret", volume.secret?.secretName) ?? {};
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64")]));
}
