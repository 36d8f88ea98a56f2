import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Manifest, type Manifests, render, valuesFile } from "./helm.ts";
import { missingTools } from "./tools.ts";

/** The variables that begin with ANTHROPIC_, by their names. */
function credentialOf({ container }: Manifests): Readonly<Record<string, string>> {
  const own = container.env.filter(({ name }: Manifest) => name.startsWith("ANTHROPIC_"));
  return Object.fromEntries(own.map(({ name, value }: Manifest) => [name, value]));
}

const volumeOf = ({ pod }: Manifests, name: string) => pod.volumes.find((volume: Manifest) => volume.name === name);

describe("the credential for Claude", { skip: missingTools, concurrency: 2 }, () => {
  test("is a file from a Secret that is there already", async () => {
    const manifests = await render(valuesFile("other-secret-key"));
    assert.deepEqual(manifests.of("Secret"), []);
    assert.deepEqual(credentialOf(manifests), {
      ANTHROPIC_API_KEY_FILE: "/var/run/secrets/parley/claude/ANTHROPIC_API_KEY",
      ANTHROPIC_WORKSPACE_ID: "wrkspc_shop",
    });
    assert.deepEqual(volumeOf(manifests, "claude").secret, { secretName: "shared-credentials", defaultMode: 0o440 });
  });

  test("is in a Secret of the chart's own, if it is in the values", async () => {
    const manifests = await render(valuesFile("api-key-trial"));
    const { metadata, data } = manifests.one("Secret");
    assert.equal(Buffer.from(data["api-key"], "base64").toString(), "sk-ant-trial");
    assert.equal(volumeOf(manifests, "claude").secret.secretName, metadata.name);
    const others = manifests.all.filter(({ kind }) => kind !== "Secret");
    assert.ok(!JSON.stringify(others).includes("sk-ant-trial"));
  });

  test("comes from a store of secrets", async () => {
    const manifests = await render(valuesFile("external-secret"));
    const { apiVersion, spec } = manifests.one("ExternalSecret");
    assert.equal(apiVersion, "external-secrets.io/v1");
    assert.deepEqual(spec.secretStoreRef, { kind: "SecretStore", name: "vault" });
    assert.deepEqual(spec.data, [{ secretKey: "api-key", remoteRef: { key: "shop/claude", property: "api-key" } }]);
    assert.equal(volumeOf(manifests, "claude").secret.secretName, spec.target.name);
    assert.deepEqual(manifests.of("Secret"), []);
  });

  test("is a token for Claude alone with federation, and no other token is mounted", async () => {
    const manifests = await render(valuesFile("federation"));
    assert.deepEqual(credentialOf(manifests), {
      ANTHROPIC_FEDERATION_RULE_ID: "fdrl_shop",
      ANTHROPIC_ORGANIZATION_ID: "7d3f2c1a-90f0-4b8e-9a55-2f6c1d0e4b7a",
      ANTHROPIC_SERVICE_ACCOUNT_ID: "svac_shop",
      ANTHROPIC_IDENTITY_TOKEN_FILE: "/var/run/secrets/parley/identity/token",
    });
    assert.deepEqual(volumeOf(manifests, "identity").projected.sources, [
      { serviceAccountToken: { path: "token", audience: "https://api.anthropic.com", expirationSeconds: 1_800 } },
    ]);
    assert.equal(volumeOf(manifests, "claude"), undefined);
    assert.equal(manifests.pod.automountServiceAccountToken, false);
    assert.equal(manifests.one("ServiceAccount").automountServiceAccountToken, false);
  });

  test("is nowhere in the pod of helm test", async () => {
    const { spec } = (await render(valuesFile("everything"))).one("Pod");
    assert.ok(!JSON.stringify(spec).includes("ANTHROPIC_"));
    assert.deepEqual(
      spec.volumes.map(({ secret }: Manifest) => secret.items),
      [[{ key: "ca.crt", path: "ca.crt" }]],
    );
  });
});

describe("the service account", { skip: missingTools, concurrency: 2 }, () => {
  test("is made by the chart, with the name of all objects or its own", async () => {
    for (const [values, name] of [
      [{}, "parley"],
      [{ serviceAccount: { name: "other" } }, "other"],
    ] as const) {
      const manifests = await render(values);
      assert.equal(manifests.one("ServiceAccount").metadata.name, name);
      assert.equal(manifests.pod.serviceAccountName, name);
    }
  });

  test("is that of somebody else, or the default, when the chart makes none", async () => {
    for (const [name, expected] of [
      ["shop", "shop"],
      ["", "default"],
    ]) {
      const manifests = await render({ serviceAccount: { create: false, name } });
      assert.deepEqual(manifests.of("ServiceAccount"), []);
      assert.equal(manifests.pod.serviceAccountName, expected);
      assert.equal(manifests.one("Pod").spec.serviceAccountName, expected);
    }
  });
});

describe("files for the configuration", { skip: missingTools, concurrency: 2 }, () => {
  test("are whole folders, from ConfigMaps and Secrets", async () => {
    const manifests = await render(valuesFile("grpc-tools"));
    assert.deepEqual(volumeOf(manifests, "file-inventory").configMap, { name: "inventory-descriptors" });
    assert.deepEqual(volumeOf(manifests, "file-orders-client").secret, {
      secretName: "orders-client",
      defaultMode: 0o440,
    });
    const mounts = manifests.container.volumeMounts.filter(({ name }: Manifest) => name.startsWith("file-"));
    assert.deepEqual(
      mounts.map(({ mountPath, readOnly }: Manifest) => [mountPath, readOnly]),
      [
        ["/etc/parley/files/inventory", true],
        ["/etc/parley/files/orders", true],
        ["/etc/parley/files/orders-client", true],
      ],
    );
  });
});
