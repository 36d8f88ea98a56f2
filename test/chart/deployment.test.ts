import assert from "node:assert/strict";
import { describe, test } from "node:test";
import manifest from "../../package.json" with { type: "json" };
import { type Manifest, type Manifests, render, valuesFile, valuesNames } from "./helm.ts";
import { missingTools } from "./tools.ts";

const SELECTOR = { "app.kubernetes.io/name": "parley", "app.kubernetes.io/instance": "parley" };

/** All names in a list, those that are there twice. */
function twice(list: readonly { readonly name: string }[] = []): readonly string[] {
  const names = list.map(({ name }) => name);
  return names.filter((name, index) => names.indexOf(name) !== index);
}

describe("the deployment", { skip: missingTools, concurrency: 2 }, () => {
  test("fulfils the restricted Pod Security Standard by default, and so does the pod of helm test", async () => {
    const manifests = await render();
    for (const pod of [manifests.pod, manifests.one("Pod").spec]) {
      assert.equal(pod.securityContext.runAsNonRoot, true);
      assert.equal(pod.securityContext.runAsUser, 65_532);
      assert.deepEqual(pod.securityContext.seccompProfile, { type: "RuntimeDefault" });
      assert.deepEqual(pod.containers[0].securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      assert.equal(pod.automountServiceAccountToken, false);
      assert.equal(pod.enableServiceLinks, false);
      for (const volume of pod.volumes ?? []) assert.ok(!("hostPath" in volume));
      for (const port of pod.containers[0].ports ?? []) assert.ok(!("hostPort" in port));
    }
  });

  test("leaves the user to OpenShift, where it is told to", async () => {
    const { pod } = await render(valuesFile("openshift"));
    assert.deepEqual(Object.keys(pod.securityContext).sort(), [
      "fsGroupChangePolicy",
      "runAsNonRoot",
      "seccompProfile",
    ]);
  });

  test("waits before SIGTERM, and gives what preStop, lame duck and drain need, and 10 seconds", async () => {
    const { pod, container } = await render({
      shutdown: { preStopSeconds: 7, lameDuckSeconds: 11, drainSeconds: 100 },
    });
    assert.deepEqual(container.lifecycle, { preStop: { sleep: { seconds: 7 } } });
    assert.equal(pod.terminationGracePeriodSeconds, 128);
  });

  test("has a longer grace period where it is told to, and exactly the sum is enough", async () => {
    const shutdown = { preStopSeconds: 5, lameDuckSeconds: 5, drainSeconds: 120 };
    for (const terminationGracePeriodSeconds of [140, 141]) {
      const { pod } = await render({ shutdown, terminationGracePeriodSeconds });
      assert.equal(pod.terminationGracePeriodSeconds, terminationGracePeriodSeconds);
    }
  });

  test("has no hook of which the time is 0", async () => {
    const { container } = await render({ shutdown: { preStopSeconds: 0 } });
    assert.equal(container.lifecycle, undefined);
  });

  test("is probed over gRPC, and its life depends on nothing else", async () => {
    const { startupProbe, readinessProbe, livenessProbe } = (await render()).container;
    assert.deepEqual(startupProbe.grpc, { port: 8_080 });
    assert.deepEqual(readinessProbe.grpc, { port: 8_080 });
    assert.deepEqual(livenessProbe.grpc, { port: 8_080, service: "liveness" });
  });

  test("is probed at the admin port when it speaks TLS, which gRPC probes cannot", async () => {
    const { container } = await render(valuesFile("mutual-tls"));
    const probes = [container.startupProbe, container.readinessProbe, container.livenessProbe];
    assert.deepEqual(
      probes.map(({ grpc, httpGet }) => [grpc, httpGet.path, httpGet.port]),
      [
        [undefined, "/readyz", "admin"],
        [undefined, "/readyz", "admin"],
        [undefined, "/livez", "admin"],
      ],
    );
  });

  test("never has fewer replicas than wanted in a rollout", async () => {
    const { spec } = (await render()).deployment;
    assert.deepEqual(spec.strategy, { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: "25%" } });
    assert.equal(spec.replicas, 2);
    assert.ok(spec.progressDeadlineSeconds > spec.template.spec.terminationGracePeriodSeconds);
  });

  test("has more time to get on than its replicas take to be ready and to end", async () => {
    const minReadySeconds = 3_600;
    const { spec } = (await render({ minReadySeconds })).deployment;
    assert.ok(spec.progressDeadlineSeconds > minReadySeconds + spec.template.spec.terminationGracePeriodSeconds);
  });

  test("is spread over zones and nodes, each rollout by itself", async () => {
    const { pod } = await render();
    assert.deepEqual(
      pod.topologySpreadConstraints.map(({ topologyKey }: Manifest) => topologyKey),
      ["topology.kubernetes.io/zone", "kubernetes.io/hostname"],
    );
    for (const constraint of pod.topologySpreadConstraints) {
      assert.equal(constraint.whenUnsatisfiable, "ScheduleAnyway");
      assert.deepEqual(constraint.matchLabelKeys, ["pod-template-hash"]);
      assert.deepEqual(constraint.labelSelector, { matchLabels: SELECTOR });
    }
  });

  test("has requests, a limit of memory, and none of the processor", async () => {
    const { resources } = (await render()).container;
    assert.ok(resources.requests.cpu && resources.requests.memory && resources.limits.memory);
    assert.equal(resources.limits.cpu, undefined);
  });

  test("runs the version of the service that belongs to the chart", async () => {
    assert.equal((await render()).container.image, `parley:${manifest.version}`);
  });

  test("takes a digest before a tag", async () => {
    const digest = `sha256:${"a".repeat(64)}`;
    const image = { repository: "registry.example/parley", tag: "1.2.3" };
    assert.equal((await render({ image })).container.image, "registry.example/parley:1.2.3");
    assert.equal((await render({ image: { ...image, digest } })).container.image, `registry.example/parley@${digest}`);
  });

  test("is rolled out when its configuration changes, and not when only the number of replicas does", async () => {
    const template = async (values: object) => (await render(values)).deployment.spec.template;
    const before = await template({});
    assert.deepEqual(await template({ replicas: 5 }), before);
    for (const changed of [{ config: { limits: { connectionAge: "5m" } } }, { shutdown: { drainSeconds: 60 } }]) {
      const after = await template(changed);
      assert.notEqual(after.metadata.annotations["checksum/config"], before.metadata.annotations["checksum/config"]);
    }
  });

  test("is placed as it is told to", async () => {
    const { pod, deployment } = await render(valuesFile("scheduling"));
    assert.equal(deployment.spec.replicas, 6);
    assert.equal(pod.nodeSelector["kubernetes.io/arch"], "arm64");
    assert.equal(pod.tolerations[0].key, "shop.example/pool");
    assert.equal(pod.priorityClassName, "shop-critical");
    assert.ok(pod.affinity.podAntiAffinity);
    assert.equal(pod.topologySpreadConstraints[0].minDomains, 3);
  });

  test("has what environments, volumes and pull secrets it is given", async () => {
    const { pod, container } = await render({
      env: [{ name: "TZ", value: "UTC" }],
      envFrom: [{ secretRef: { name: "more" } }],
      volumes: [{ name: "more", emptyDir: {} }],
      volumeMounts: [{ name: "more", mountPath: "/more" }],
      imagePullSecrets: [{ name: "registry" }],
    });
    assert.deepEqual(container.env.at(-1), { name: "TZ", value: "UTC" });
    assert.deepEqual(container.envFrom, [{ secretRef: { name: "more" } }]);
    assert.deepEqual(pod.volumes.at(-1), { name: "more", emptyDir: {} });
    assert.deepEqual(container.volumeMounts.at(-1), { name: "more", mountPath: "/more" });
    assert.deepEqual(pod.imagePullSecrets, [{ name: "registry" }]);
  });
});

describe("names and labels", { skip: missingTools, concurrency: 2 }, () => {
  test("of everybody cannot change what selects the pods", async () => {
    const manifests = await render({
      commonLabels: { "app.kubernetes.io/name": "other", team: "search" },
      podLabels: { "app.kubernetes.io/instance": "other", team: "platform" },
    });
    const { selector, template } = manifests.deployment.spec;
    assert.deepEqual(selector.matchLabels, SELECTOR);
    assert.partialDeepStrictEqual(template.metadata.labels, { ...SELECTOR, team: "platform" });
    for (const { metadata, kind } of manifests.all) assert.equal(metadata.labels.team, "search", kind);
  });

  test("of the chart's version are not on pods: a new one alone replaces no replica", async () => {
    const { metadata, spec } = (await render()).deployment;
    assert.match(metadata.labels["helm.sh/chart"], /^parley-\d/);
    assert.equal(spec.template.metadata.labels["helm.sh/chart"], undefined);
  });

  test("of the pod of helm test are not those of replicas", async () => {
    const manifests = await render();
    const { labels } = manifests.one("Pod").metadata;
    const selectors = [
      ...manifests.of("Service").map(({ spec }) => spec.selector),
      manifests.deployment.spec.selector.matchLabels,
      manifests.one("PodDisruptionBudget").spec.selector.matchLabels,
      manifests.one("NetworkPolicy").spec.podSelector.matchLabels,
    ];
    for (const selector of selectors) {
      assert.deepEqual(selector, SELECTOR);
      assert.notEqual(labels["app.kubernetes.io/name"], selector["app.kubernetes.io/name"]);
    }
  });

  test("are as they are told to be, in all objects", async () => {
    const manifests = await render(valuesFile("names"));
    for (const { metadata } of manifests.all) {
      assert.match(metadata.name, /^claude-gateway(-claude|-headless|-test)?$/);
      assert.equal(metadata.namespace, "shop");
    }
    assert.equal(manifests.deployment.spec.selector.matchLabels["app.kubernetes.io/name"], "gateway");
  });

  test("stay within 63 characters", async () => {
    const manifests = await render({ fullnameOverride: "a".repeat(80), dashboard: { enabled: true } });
    for (const { metadata } of manifests.all) assert.ok(metadata.name.length <= 63, metadata.name);
  });
});

describe("all values files", { skip: missingTools, concurrency: 2 }, () => {
  /** What an API server refuses, or the kubelet never starts. */
  function check(manifests: Manifests): void {
    for (const pod of [manifests.pod, ...manifests.of("Pod").map(({ spec }) => spec)]) {
      const [container] = pod.containers;
      assert.deepEqual(twice(container.env), []);
      assert.deepEqual(twice(pod.volumes), []);
      const paths = (container.volumeMounts ?? []).map(({ mountPath }: Manifest) => ({ name: mountPath }));
      assert.deepEqual(twice(paths), []);
      for (const { name } of container.volumeMounts ?? []) {
        assert.ok(
          pod.volumes.some((volume: Manifest) => volume.name === name),
          name,
        );
      }
      for (const { mountPath, subPath } of container.volumeMounts ?? []) {
        assert.equal(subPath, undefined, `${mountPath} would never change`);
      }
    }
    const names = manifests.all.map(({ kind, metadata }) => ({ name: `${kind} ${metadata.name}` }));
    assert.deepEqual(twice(names), []);
  }

  for (const name of valuesNames) {
    test(`name nothing twice and mount only what is there: ${name}`, async () => check(await render(valuesFile(name))));
  }
});
