import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { metric } from "../../src/observe/names.ts";
import { render, valuesFile } from "./helm.ts";
import { missingTools } from "./tools.ts";

/** As Prometheus has it. */
const ACTIVE_CALLS = metric.rpcActive.replaceAll(".", "_");
const TARGET = { apiVersion: "apps/v1", kind: "Deployment", name: "parley" };

describe("a HorizontalPodAutoscaler", { skip: missingTools, concurrency: 2 }, () => {
  test("looks at the processor, and decides on the number of replicas alone", async () => {
    const manifests = await render(valuesFile("autoscaling-cpu"));
    const { spec } = manifests.one("HorizontalPodAutoscaler");
    assert.deepEqual(spec.scaleTargetRef, TARGET);
    assert.deepEqual([spec.minReplicas, spec.maxReplicas], [3, 12]);
    const target = { type: "Utilization", averageUtilization: 70 };
    assert.deepEqual(spec.metrics, [{ type: "Resource", resource: { name: "cpu", target } }]);
    assert.equal(manifests.deployment.spec.replicas, undefined);
    assert.deepEqual(manifests.of("ScaledObject"), []);
  });

  test("looks at calls in progress too, by the name that the metric has", async () => {
    const { spec } = (await render(valuesFile("autoscaling-streams"))).one("HorizontalPodAutoscaler");
    assert.deepEqual(spec.metrics[1], {
      type: "Pods",
      pods: { metric: { name: ACTIVE_CALLS }, target: { type: "AverageValue", averageValue: "200" } },
    });
  });

  test("can look at calls in progress alone", async () => {
    const autoscaling = { enabled: true, targetCpuPercent: 0, activeStreams: { target: 50 } };
    const { spec } = (await render({ autoscaling })).one("HorizontalPodAutoscaler");
    assert.deepEqual(
      spec.metrics.map(({ type }: { type: string }) => type),
      ["Pods"],
    );
  });

  test("takes away one replica a minute at the most, and none in the first minutes", async () => {
    const { spec } = (await render({ autoscaling: { enabled: true } })).one("HorizontalPodAutoscaler");
    assert.deepEqual(spec.behavior.scaleDown, {
      stabilizationWindowSeconds: 300,
      policies: [{ type: "Pods", value: 1, periodSeconds: 60 }],
    });
    const changed = (await render(valuesFile("autoscaling-streams"))).one("HorizontalPodAutoscaler").spec.behavior;
    assert.equal(changed.scaleDown.stabilizationWindowSeconds, 600);
    assert.equal(changed.scaleDown.policies.length, 1);
  });
});

describe("a ScaledObject of KEDA", { skip: missingTools, concurrency: 2 }, () => {
  test("looks at calls in progress of this release, and at what else it is told to", async () => {
    const manifests = await render(valuesFile("keda"));
    const { apiVersion, spec } = manifests.one("ScaledObject");
    assert.equal(apiVersion, "keda.sh/v1alpha1");
    assert.equal(spec.scaleTargetRef.name, manifests.deployment.metadata.name);
    assert.deepEqual([spec.minReplicaCount, spec.maxReplicaCount], [2, 20]);
    const [prometheus, cron] = spec.triggers;
    // The labels that the ServiceMonitor gives to the series: that of the service is its name.
    const service = manifests.one("Service", "-headless").metadata.name;
    assert.deepEqual(prometheus, {
      type: "prometheus",
      metadata: {
        serverAddress: "http://prometheus.monitoring:9090",
        query: `sum(${ACTIVE_CALLS}{namespace="shop", service="${service}", rpc_method=~"parley[.]v1[.].+"})`,
        threshold: "100",
      },
    });
    assert.equal(cron.type, "cron");
    assert.ok(spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown);
    assert.equal(manifests.deployment.spec.replicas, undefined);
    assert.deepEqual(manifests.of("HorizontalPodAutoscaler"), []);
  });

  test("can have a query of its own", async () => {
    const keda = {
      enabled: true,
      prometheusAddress: "http://prometheus:9090",
      query: 'sum(up{job="a"})',
      threshold: 0.5,
    };
    const { metadata } = (await render({ keda })).one("ScaledObject").spec.triggers[0];
    assert.equal(metadata.query, 'sum(up{job="a"})');
    assert.equal(metadata.threshold, "0.5");
  });
});

describe("the disruption budget", { skip: missingTools, concurrency: 2 }, () => {
  test("lets one replica go at a time, and those that are not ready at any time", async () => {
    const { spec } = (await render()).one("PodDisruptionBudget");
    assert.equal(spec.maxUnavailable, 1);
    assert.ok(!("minAvailable" in spec), "only one of them is allowed");
    assert.equal(spec.unhealthyPodEvictionPolicy, "AlwaysAllow");
  });

  test("can say how many must be left, instead", async () => {
    const { spec } = (await render(valuesFile("long-drain"))).one("PodDisruptionBudget");
    assert.equal(spec.minAvailable, "50%");
    assert.ok(!("maxUnavailable" in spec), "only one of them is allowed");
  });

  test("is left away where it is not wanted", async () => {
    assert.deepEqual((await render(valuesFile("one-replica"))).of("PodDisruptionBudget"), []);
  });
});
